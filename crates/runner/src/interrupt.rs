//! Signals ask a run to stop; it does so after the update at hand, with a checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What a shell reports for a program that SIGINT ended: the exit code after a second signal.
pub const KILLED_BY_SIGINT: i32 = 130;

/// Whether the process has been asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on signals set the flag instead of ending the process.
    ///
    /// | signal | sent by | the second of its row |
    /// | --- | --- | --- |
    /// | SIGINT, SIGTERM | a user, `kill`, a scheduler whose time is up | ends the process at once |
    /// | SIGHUP, SIGUSR1, SIGUSR2 | a terminal that closes, a scheduler that warns | changes nothing |
    ///
    /// Schedulers warn the step and its shell alike, so warnings may come twice. SIGHUP stays
    /// ignored under `nohup`. And a file that reaches the size limit of the process is an error
    /// where it is written, no longer the end of the process.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn install() -> std::io::Result<Self> {
        let interrupt = Self::default();
        let urged = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds `urged` unset and only sets it.
            flag::register_conditional_shutdown(signal, KILLED_BY_SIGINT, Arc::clone(&urged))?;
            flag::register(signal, Arc::clone(&urged))?;
            flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        #[cfg(unix)]
        {
            use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2, SIGXFSZ};
            for signal in [SIGHUP, SIGUSR1, SIGUSR2] {
                if signal != SIGHUP || !is_ignored(signal) {
                    flag::register(signal, Arc::clone(&interrupt.0))?;
                }
            }
            flag::register(SIGXFSZ, Arc::default())?;
        }
        Ok(interrupt)
    }

    /// Asks this process to stop, as a signal does.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a signal has arrived.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether the process was started with `signal` ignored, where the system tells (Linux does).
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, signal))
}

/// Whether the mask in the text of `/proc/<process>/status` names `signal`.
#[cfg(unix)]
fn ignores(status: &str, signal: i32) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_understood() {
        let status = "Name:\trescore\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(ignores(status, signal_hook::consts::SIGHUP));
        assert!(ignores(status, signal_hook::consts::SIGPIPE));
        assert!(!ignores(status, SIGTERM));
        assert!(!ignores("", signal_hook::consts::SIGHUP));
    }
}
