//! `eval`: evaluation episodes with a trained policy, those of the training or others.

use std::path::{Path, PathBuf};

use rescore_kernels::RescoreBackend;
use rescore_runner::config::Config;
use rescore_runner::evaluate::{Evaluation, Evaluator};
use rescore_runner::interrupt::Interrupt;
use rescore_runner::{RunError, policy};
use rescore_store::checkpoint::Description;
use serde::Serialize;

use super::policy::PolicyArgs;
use super::{print, print_json};
use crate::backend::{Work, dispatch};

#[derive(Debug, clap::Args)]
pub(super) struct EvalArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Run folder
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Episodes to play [default: as in training]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    episodes: Option<u32>,
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
    /// Whether each episode was cut off, by a time limit or `evaluation.max_steps`.
    truncated: Vec<bool>,
}

impl EvalArgs {
    /// Plays evaluation episodes and prints their returns.
    pub(super) fn run(&self) -> Result<(), RunError> {
        let episodes = self.episodes.map(|n| format!("evaluation.episodes={n}"));
        let config = self.policy.config(&self.run, episodes)?;
        let path = self.policy.checkpoint(&self.run)?;
        #[cfg(feature = "mujoco")]
        let _model = rescore_runner::model_copy::restore(&self.run, &config)?;
        let work = Eval {
            config: &config,
            path: &path,
            stochastic: self.policy.stochastic,
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
    stochastic: bool,
}

impl Work for Eval<'_> {
    type Output = Result<(Description, Evaluation), RunError>;

    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output {
        let config = self.config;
        let episodes = config.evaluation.episodes;
        let mut evaluator = Evaluator::new(&config.env, &config.task, episodes, config.seed)?;
        evaluator.set_max_steps(config.evaluation.max_steps);
        evaluator.set_best_of(config.evaluation.best_of);
        let dims = evaluator.dims();
        let policy = policy::load::<B>(config, self.path, dims, device)?;
        evaluator.set_normalizer(policy.normalizer);
        evaluator.set_stochastic(self.stochastic);
        let (agent, step) = (policy.agent.as_ref(), policy.description.step);
        // Nothing here asks to stop: a signal ends the program.
        let evaluation = evaluator.run(agent, device, step, &Interrupt::default())?;
        Ok((policy.description, evaluation.unwrap_or_default()))
    }
}
