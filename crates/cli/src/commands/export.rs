//! `export`: a trained policy as one file.

use std::path::{Path, PathBuf};

use rescore_envs::Space;
use rescore_kernels::RescoreBackend;
use rescore_runner::config::{Config, Request, resolve};
use rescore_runner::export::export;
use rescore_runner::{RunError, policy};
use rescore_store::checkpoint::{Checkpoints, Which};
use rescore_store::{durable, output};

use super::{parse_which, print};
use crate::backend::{Work, check_config, dispatch};

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// Run folder
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// The file; an older one of its kind is replaced
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// Checkpoint: `best` or its step [default: the last]
    #[arg(long, value_name = "best|STEP", value_parser = parse_which)]
    checkpoint: Option<Which>,
}

impl ExportArgs {
    /// Writes the file and prints its path.
    pub(super) fn run(&self) -> Result<(), RunError> {
        output::policy(&self.out)?;
        let config = resolve(&Request::of_run(&self.run))?;
        check_config(&config)?;
        let which = self.checkpoint.unwrap_or(Which::Last);
        let checkpoint = Checkpoints::of(&self.run).find(which)?;
        #[cfg(feature = "mujoco")]
        let _model = rescore_runner::model_copy::restore(&self.run, &config)?;
        let env = rescore_envs::make(&config.env, &config.task)?;
        let work = Export {
            config: &config,
            checkpoint: &checkpoint,
            observation_dim: env.observation_space().dim(),
            actions: env.action_space(),
        };
        let bytes = dispatch(&config, work)??;
        durable::write_whole(&self.out, &bytes)?;
        print(&self.out.display().to_string())
    }
}

struct Export<'a> {
    config: &'a Config,
    checkpoint: &'a Path,
    observation_dim: usize,
    actions: &'a Space,
}

impl Work for Export<'_> {
    type Output = Result<Vec<u8>, RunError>;

    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output {
        let dims = (self.observation_dim, self.actions.dim());
        let policy = policy::load::<B>(self.config, self.checkpoint, dims, device)?;
        export(&policy, self.config, self.actions)
    }
}
