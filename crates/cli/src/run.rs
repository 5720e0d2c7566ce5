//! Training in one call.

use std::path::{Path, PathBuf};

use rescore_kernels::RescoreBackend;
use rescore_runner::{
    Begin, Config, Environments, Interrupt, Request, RunError, RunFolder, folder, resolve, train,
};

use crate::backend::{Work, check_config, dispatch, request};
use crate::start;

/// Trains the algorithm `algo` on the task `env`, with `KEY=VALUE` settings as `train --set` takes
/// them, in a fresh folder below `runs/`; returns that folder. Both names may be registered ones.
///
/// ```no_run
/// let folder = rescore::run("dpmd", "Pendulum-v1", &["steps=20000", "seed=1"])?;
/// println!("{}", std::fs::read_to_string(folder.join("eval.csv")).unwrap_or_default());
/// # Ok::<(), rescore::RunError>(())
/// ```
///
/// # Errors
/// When a name or a setting is wrong, and as [`train`](rescore_runner::train()).
pub fn run(algo: &str, env: &str, set: &[&str]) -> Result<PathBuf, RunError> {
    let config = resolve(&Request {
        algo: Some(algo.to_owned()),
        env: Some(env.to_owned()),
        set: set.iter().map(ToString::to_string).collect(),
        ..request()
    })?;
    run_in(&config, None)
}

/// Trains as `config` says in the folder `out`, which must be new or empty, or in a fresh one below
/// `runs/`; returns it. `rescore train --resume` goes on with it.
///
/// # Errors
/// As [`run`].
pub fn run_in(config: &Config, out: Option<&Path>) -> Result<PathBuf, RunError> {
    check_config(config)?;
    let envs = Environments::new(config)?;
    let folder = folder::create(out, config, start(config))?;
    train_here(config, envs, &folder, Begin::Fresh, &Interrupt::default())?;
    Ok(folder.path().to_owned())
}

/// [`train`](rescore_runner::train()) with the agent of the settings, on the backend that the
/// configuration names.
///
/// # Errors
/// When the backend is not compiled in or lacks the device; otherwise as `train`.
pub(crate) fn train_here(
    config: &Config,
    envs: Environments,
    folder: &RunFolder,
    begin: Begin,
    interrupt: &Interrupt,
) -> Result<(), RunError> {
    let work = Training {
        config,
        envs,
        folder,
        begin,
        interrupt,
    };
    dispatch(config, work)?
}

struct Training<'a> {
    config: &'a Config,
    envs: Environments,
    folder: &'a RunFolder,
    begin: Begin,
    interrupt: &'a Interrupt,
}

impl Work for Training<'_> {
    type Output = Result<(), RunError>;

    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output {
        let agent = self.config.new_agent::<B>(self.envs.dims(), device)?;
        let (folder, interrupt) = (self.folder, self.interrupt);
        train(
            self.config,
            agent,
            self.envs,
            folder,
            self.begin,
            interrupt,
            device,
        )
    }
}
