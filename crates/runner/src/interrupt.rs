//! SIGINT and SIGTERM ask a run to stop; it does so after the update at hand, with a checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What a shell reports for a program that SIGINT ended.
const KILLED_BY_SIGINT: i32 = 130;

/// Whether the process has been asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT and SIGTERM set the flag instead of ending the process; the second of
    /// them ends it at once. And a file that reaches the size limit of the process is an error
    /// where it is written, no longer the end of the process.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn install() -> std::io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset and only sets it.
            let requested = Arc::clone(&interrupt.0);
            flag::register_conditional_shutdown(signal, KILLED_BY_SIGINT, requested)?;
            flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        #[cfg(unix)]
        flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
        Ok(interrupt)
    }

    /// Whether a signal has arrived.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
