//! `eval`: evaluation episodes with a trained policy.

use std::path::{Path, PathBuf};

use rescore_kernels::RescoreBackend;
use serde::Serialize;

use super::{parse_which, print, print_json};
use crate::backend::{self, AUTO, Work, dispatch};
use crate::checkpoint::{Checkpoints, Description, Which};
use crate::config::{Config, Request, resolve};
use crate::evaluate::{Evaluation, Evaluator};
use crate::interrupt::Interrupt;
use crate::run_folder::CONFIG_FILE;
use crate::{RunError, policy};

#[derive(Debug, clap::Args)]
pub(super) struct EvalArgs {
    /// Run folder
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Episodes to play [default: as in training]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    episodes: Option<u32>,
    /// Checkpoint: `best` or its step [default: the last]
    #[arg(long, value_name = "best|STEP", value_parser = parse_which)]
    checkpoint: Option<Which>,
    /// Tensor backend [default: as in training]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Device of the backend, see `devices` [default: as in training, with --backend the first GPU]
    #[arg(long, value_name = "N")]
    device: Option<String>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// What `eval --json` prints.
#[derive(Debug, Serialize)]
struct EvalReport {
    algo: String,
    env: String,
    step: u64,
    update: u64,
    episodes: usize,
    mean_return: f64,
    std_return: f64,
    returns: Vec<f64>,
    lengths: Vec<u32>,
    /// Whether each episode was cut off, by a time limit or `training.eval_max_steps`.
    truncated: Vec<bool>,
}

impl EvalArgs {
    /// Plays evaluation episodes and prints their returns.
    pub(super) fn run(&self) -> Result<(), RunError> {
        let mut request = Request::from_file(&self.run.join(CONFIG_FILE));
        request.backend.clone_from(&self.backend);
        let auto = || self.backend.as_ref().map(|_| AUTO.to_owned());
        request.device = self.device.clone().or_else(auto);
        if let Some(episodes) = self.episodes {
            request
                .set
                .push(format!("training.eval_episodes={episodes}"));
        }
        let config = resolve(&request)?;
        backend::check_config(&config)?;
        let path = Checkpoints::of(&self.run).find(self.checkpoint.unwrap_or(Which::Last))?;
        #[cfg(feature = "mujoco")]
        let _model = crate::model_copy::restore(&self.run, &config)?;
        let work = Eval {
            config: &config,
            path: &path,
        };
        let (description, evaluation) = dispatch(&config, work)??;
        let report = EvalReport {
            algo: description.algo,
            env: description.env,
            step: description.step,
            update: description.update,
            episodes: evaluation.returns.len(),
            mean_return: evaluation.mean(),
            std_return: evaluation.std(),
            returns: evaluation.returns,
            lengths: evaluation.lengths,
            truncated: evaluation.truncated,
        };
        if self.json {
            return print_json(&report);
        }
        print(&format!(
            "{} on {} at step {}: mean return {:.2}, standard deviation {:.2}, {} episodes",
            report.algo,
            report.env,
            report.step,
            report.mean_return,
            report.std_return,
            report.episodes,
        ))
    }
}

struct Eval<'a> {
    config: &'a Config,
    path: &'a Path,
}

impl Work for Eval<'_> {
    type Output = Result<(Description, Evaluation), RunError>;

    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output {
        let config = self.config;
        let episodes = config.training.eval_episodes;
        let mut evaluator = Evaluator::new(&config.env, &config.task, episodes, config.seed)?;
        evaluator.set_max_steps(config.training.eval_max_steps);
        let dims = evaluator.dims();
        let policy = policy::load::<B>(config, self.path, dims, device)?;
        evaluator.set_statistics(policy.statistics.as_ref());
        // Nothing here asks to stop: a signal ends the program.
        let evaluation = evaluator.run(policy.agent.as_ref(), device, &Interrupt::default())?;
        Ok((policy.description, evaluation.unwrap_or_default()))
    }
}
