//! Training on the backend that the configuration names.

use rescore_kernels::RescoreBackend;
use rescore_runner::{Begin, Config, Environments, Interrupt, RunError, RunFolder};

use crate::backend::{Work, dispatch};

/// Trains to the last step and leaves the results in `folder`.
///
/// # Errors
/// When the backend is not compiled in or lacks the device; otherwise as
/// [`rescore_runner::train()`].
pub fn train(
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
        rescore_runner::train::<B>(
            self.config,
            self.envs,
            self.folder,
            self.begin,
            self.interrupt,
            device,
        )
    }
}
