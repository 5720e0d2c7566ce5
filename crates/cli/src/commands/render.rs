//! `render`: films.

use std::path::PathBuf;

use rescore_runner::RunError;

use super::policy::PolicyArgs;

#[derive(Debug, clap::Args)]
pub(super) struct RenderArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Run folder of the policy
    #[arg(
        value_name = "RUN_DIR",
        required_unless_present = "env",
        conflicts_with = "env"
    )]
    run: Option<PathBuf>,
    /// Task, to be filmed with random actions
    #[arg(long, value_name = "NAME", conflicts_with_all = ["checkpoint", "backend", "device", "set", "stochastic"])]
    env: Option<String>,
    /// The film; .mp4 needs the program ffmpeg
    #[arg(long, value_name = "FILE.gif|FILE.mp4")]
    out: PathBuf,
    /// Episodes to show
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    episodes: u32,
    /// Steps of each episode to show [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Camera of the model [default: the one that Gymnasium looks through]
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Width and height in pixels, up to 4096x4096
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "320x240", value_parser = parse_size)]
    size: (u16, u16),
}

fn parse_size(text: &str) -> Result<(u16, u16), String> {
    let parse = |(width, height): (&str, &str)| Some((width.parse().ok()?, height.parse().ok()?));
    text.split_once('x')
        .and_then(parse)
        .ok_or_else(|| format!("`{text}` is no size; 320x240 is one"))
}

impl RenderArgs {
    /// Films what was asked for.
    #[cfg(feature = "render")]
    pub(super) fn run(&self) -> Result<(), RunError> {
        use super::print;
        use crate::backend::dispatch;
        use crate::render::{Filming, Scene, film_random};

        let scene = Scene {
            out: &self.out,
            episodes: self.episodes,
            steps: self.steps,
            camera: self.camera.as_deref(),
            size: self.size,
        };
        let shown = match (&self.run, &self.env) {
            (Some(run), _) => {
                let config = self.policy.config(run, None)?;
                let path = self.policy.checkpoint(run)?;
                let _model = rescore_runner::model_copy::restore(run, &config)?;
                let work = Filming {
                    config: &config,
                    path: &path,
                    stochastic: self.policy.stochastic,
                    scene: &scene,
                };
                dispatch(&config, work)??
            }
            (None, Some(env)) => film_random(env, self.policy.seed().unwrap_or(0), &scene)?,
            (None, None) => unreachable!("one of the two is required"),
        };
        let returns: Vec<_> = shown.returns.iter().map(|r| format!("{r:.2}")).collect();
        print(&format!(
            "{}: {} frames, returns {}",
            self.out.display(),
            shown.frames,
            returns.join(", ")
        ))
    }

    /// Says what is missing.
    #[cfg(not(feature = "render"))]
    pub(super) fn run(&self) -> Result<(), RunError> {
        Err(RunError::usage(
            format!("this program cannot draw {}", self.out.display()),
            "`cargo xtask render` builds one that can (cargo feature `render`, which needs MuJoCo)",
        ))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::commands::Cli;

    #[test]
    fn a_film_shows_a_run_or_a_task() {
        let parse = |arguments: &[&str]| {
            let program = ["rescore", "render", "--out", "a.gif"];
            Cli::try_parse_from(program.iter().chain(arguments)).is_ok()
        };
        assert!(parse(&["run"]) && parse(&["--env", "Hopper-v4", "--steps", "5"]));
        assert!(parse(&["run", "--checkpoint", "best", "--size", "64x48"]));
        assert!(parse(&[
            "run",
            "--backend",
            "flex",
            "--stochastic",
            "--seed",
            "3"
        ]));
        assert!(parse(&["--env", "Hopper-v4", "--seed", "3"]));
        assert!(!parse(&["--env", "Hopper-v4", "--stochastic"]));
        assert!(!parse(&[]) && !parse(&["run", "--env", "Hopper-v4"]));
        assert!(!parse(&["run", "--size", "64"]) && !parse(&["run", "--size", "axb"]));
    }
}
