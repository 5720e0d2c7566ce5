//! `cargo xtask ...`: prepares the machine, picks cargo features, spawns `rescore`.
//!
//! It links none of the project's crates, so that it works where they cannot be built. Data goes
//! to stdout, everything else to stderr.

mod bundle;
mod check;
mod cli;
mod doctor;
mod failure;
mod names;
mod program;
mod setup;
mod test_command;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use cli::{Cli, Command, Eval, Train};
use failure::{Failure, Result};
use program::Physics;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: &Cli) -> Result<u8> {
    let root = workspace_root();
    let root = root.as_path();
    match &cli.command {
        None => {
            Cli::command()
                .print_help()
                .map_err(|e| Failure::io("write", Path::new("stdout"), &e))?;
            Ok(0)
        }
        Some(Command::Setup { from }) => {
            setup::ensure(root, from.as_deref(), setup::Check::Hash)?;
            setup::report(root)?;
            Ok(0)
        }
        Some(Command::Doctor) => doctor::run(root),
        Some(Command::Test { names, backends }) => {
            backends.iter().try_for_each(|name| check::backend(name))?;
            test_command::run(root, names, backends)
        }
        Some(Command::Bundle { out, backends }) => {
            backends.iter().try_for_each(|name| check::backend(name))?;
            let gpu: Vec<&str> = backends
                .iter()
                .filter_map(|name| check::gpu_feature(name))
                .collect();
            let mujoco = program::prepare(root, Physics::Wanted)?;
            let program = program::build_for_use(root, mujoco, &gpu)?;
            bundle::write(root, &program, mujoco, out)?;
            Ok(0)
        }
        Some(command) => {
            check_names(command)?;
            let mujoco = program::prepare(root, physics(command))?;
            let gpu = gpu(command);
            let program = program::build_for_use(root, mujoco, gpu.as_slice())?;
            // The program understands the same command line.
            let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
            program::become_program(&program, &arguments)
        }
    }
}

/// The folder above xtask's own. Cargo says where that is now; a binary that is run without cargo
/// knows where it was built.
fn workspace_root() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or(xtask.clone(), Path::to_owned)
}

/// Refuses unknown names before anything is fetched or built.
fn check_names(command: &Command) -> Result<()> {
    let owned = |name: Option<&str>| name.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let [algos, envs, backends] = match command {
        Command::Train(train) => {
            for setting in &train.settings {
                if !setting.contains('=') {
                    return Err(Failure::usage(format!("--set {setting} has no value"))
                        .hint("write --set KEY=VALUE, for example --set batch_size=128"));
                }
            }
            let config = train_config(train);
            if let Some(config) = &config {
                std::fs::metadata(config).map_err(|e| Failure::io("read", config, &e))?;
            }
            // The program's order of precedence.
            let name = |key, option: Option<&str>| {
                let set = check::set_value(&train.settings, key).or(option);
                let file = || check::configured(config.as_ref()?, key);
                set.map(str::to_owned).or_else(file).into_iter().collect()
            };
            [
                name("algo", train.algo.as_deref()),
                name("env", train.env.as_deref()),
                name("backend", train.backend.as_deref()),
            ]
        }
        Command::Eval(eval) => [vec![], vec![], owned(eval.backend.as_deref())],
        Command::Render(render) => [vec![], owned(render.env.as_deref()), vec![]],
        Command::Devices { backend } => [vec![], vec![], owned(backend.as_deref())],
        Command::Bench(bench) => ["algo", "env", "backend"].map(|name| bench.options(name)),
        _ => [vec![], vec![], vec![]],
    };
    algos.iter().try_for_each(|name| check::algo(name))?;
    envs.iter().try_for_each(|name| check::env(name))?;
    backends.iter().try_for_each(|name| check::backend(name))
}

/// How much the command wants MuJoCo.
fn physics(command: &Command) -> Physics {
    let env = match command {
        Command::Train(train) => Some(train_env(train)),
        Command::Eval(eval) => eval_env(eval),
        // Only what runs in MuJoCo can be drawn.
        Command::Render(_) => return Physics::Needed,
        _ => None,
    };
    if env.is_some_and(|name| check::needs_mujoco(&name)) {
        Physics::Needed
    } else {
        Physics::Wanted
    }
}

/// The task to train on, in the program's order of precedence.
fn train_env(train: &Train) -> String {
    check::set_value(&train.settings, "env")
        .or(train.env.as_deref())
        .map(str::to_owned)
        .or_else(|| check::configured(&train_config(train)?, "env"))
        .unwrap_or_else(|| names::DEFAULT_ENV.to_owned())
}

/// The cargo feature of the GPU backend that the command computes on, in the program's order of
/// precedence.
fn gpu(command: &Command) -> Option<&'static str> {
    let of_run = |run: &Path| check::configured(&run.join("config.toml"), "backend");
    let backend = match command {
        Command::Train(train) => check::set_value(&train.settings, "backend")
            .or(train.backend.as_deref())
            .map(str::to_owned)
            .or_else(|| check::configured(&train_config(train)?, "backend")),
        Command::Eval(eval) => eval.backend.clone().or_else(|| of_run(&eval.run)),
        Command::Render(render) => of_run(render.run.as_ref()?),
        Command::Bench(bench) => bench.options("backend").pop(),
        Command::Devices { backend } => backend.clone(),
        _ => None,
    };
    check::gpu_feature(&backend?)
}

/// The configuration file: the one given, or that of the run to go on with.
fn train_config(train: &Train) -> Option<PathBuf> {
    let resumed = || Some(train.resume.as_ref()?.join("config.toml"));
    train.config.clone().or_else(resumed)
}

/// The task of a finished run; unknown if the folder is not a run's, which the program reports.
fn eval_env(eval: &Eval) -> Option<String> {
    check::configured(&eval.run.join("config.toml"), "env")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(arguments: &[&str]) -> Command {
        Cli::try_parse_from(std::iter::once("xtask").chain(arguments.iter().copied()))
            .expect("a good command line")
            .command
            .expect("a command")
    }

    #[test]
    fn mujoco_is_needed_for_its_tasks_and_only_wanted_otherwise() {
        for needs in [
            &["train"][..],
            &["train", "--env", "Hopper-v4"],
            &["render", "no-such-run", "--out", "a.gif"],
            &["train", "--set", "env=Hopper-v4", "--env", "Pendulum-v1"],
        ] {
            assert_eq!(physics(&command(needs)), Physics::Needed, "{needs:?}");
        }
        for wants in [
            &["train", "--env", "Pendulum-v1"][..],
            &["envs"],
            &["eval", "no-such-run"],
            &["bench", "update"],
        ] {
            assert_eq!(physics(&command(wants)), Physics::Wanted, "{wants:?}");
        }
    }

    #[test]
    fn the_task_of_a_configuration_file_or_a_run_counts() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "env = \"Pendulum-v1\"\n").expect("writable");
        let path = file.to_str().expect("a temporary path is text");
        assert_eq!(
            physics(&command(&["train", "--config", path])),
            Physics::Wanted
        );
        std::fs::write(&file, "env = \"Hopper-v4\"\n").expect("writable");
        let run = dir.path().to_str().expect("a temporary path is text");
        assert_eq!(physics(&command(&["eval", run])), Physics::Needed);
    }

    #[test]
    fn a_gpu_backend_is_built_where_it_is_used() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let run = dir.path().to_str().expect("a temporary path is text");
        std::fs::write(dir.path().join("config.toml"), "backend = \"wgpu\"\n").expect("writable");
        for (arguments, feature) in [
            (&["train", "--backend", "cuda"][..], Some("cuda")),
            (
                &["train", "--set", "backend=wgpu", "--backend", "cuda"],
                Some("wgpu"),
            ),
            (&["train", "--backend", "ndarray"], None),
            (&["train"], None),
            (&["train", "--resume", run], Some("wgpu")),
            (&["eval", run], Some("wgpu")),
            (&["eval", run, "--backend", "flex"], None),
            (&["render", run, "--out", "a.gif"], Some("wgpu")),
            (&["bench", "update", "--backend", "vulkan"], Some("vulkan")),
            (&["envs"], None),
        ] {
            assert_eq!(gpu(&command(arguments)), feature, "{arguments:?}");
        }
    }

    #[test]
    fn unknown_names_are_refused_wherever_they_are_given() {
        for bad in [
            &["train", "--algo", "ppo"][..],
            &["train", "--env", "Hoper-v4"],
            &["train", "--backend", "kuda"],
            &["train", "--set", "env=Hoper-v4"],
            &["train", "--set", "gamma"],
            &["eval", "run", "--backend", "flx"],
            &["bench", "act", "--particles", "4", "--algo", "ppo"],
            &["bench", "act", "--algo", "dpmd", "--algo=ppo"],
            &["bench", "act", "--env", "Hoper-v4"],
            &["render", "--env", "Hoper-v4", "--out", "a.gif"],
        ] {
            let failure = check_names(&command(bad)).expect_err("must be refused");
            assert_eq!(failure.code, failure::code::USAGE, "{bad:?}");
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("config.toml");
        let path = file.to_str().expect("a temporary path is text");
        for text in ["algo = \"ppo\"", "env = \"Hoper-v4\"", "backend = \"flx\""] {
            std::fs::write(&file, text).expect("writable");
            let failure =
                check_names(&command(&["train", "--config", path])).expect_err("must be refused");
            assert_eq!(failure.code, failure::code::USAGE, "{text}");
        }
        let missing = command(&["train", "--config", "/no/such/file.toml"]);
        let failure = check_names(&missing).expect_err("must be refused");
        assert_eq!(failure.code, failure::code::IO);
    }
}
