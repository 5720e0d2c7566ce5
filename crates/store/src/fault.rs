//! Faults on purpose, so that tests can see what a kill, a full disk or a number that is not
//! finite does to a run.
//!
//! The environment variable `RESCORE_FAULT` arms one of them, in programs that are built with the
//! cargo feature `faults`; otherwise nothing here does anything.
//!
//! ```text
//! abort@N          the process aborts before its N-th step of writing (see `durable`), 1, 2, ...
//! full@N           from that step on, writing fails as on a full disk
//! nan:WHAT@N       WHAT is NaN once, at environment step N or the first after it
//! inf:WHAT@N       ... infinite
//! nolock@N         the file system refuses locks with the system's error number N
//! nofoldersync@N   it refuses to bring a folder to the disk
//! ```
//!
//! `WHAT` is `observation`, `next_observation`, `reward`, `action`, the name of a metric
//! (`q1_loss`), or that of an array of the agent's state (`critics.l0.weight`).

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Name of the variable.
pub const VARIABLE: &str = "RESCORE_FAULT";

/// A fault and when it strikes.
#[derive(Debug, Clone, PartialEq)]
enum Fault {
    Abort { at: u64 },
    Full { from: u64 },
    Number { what: String, value: f32, at: u64 },
    Refuse { what: Refused, number: i32 },
}

/// What a file system can refuse to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// To lock a file.
    Lock,
    /// To bring a folder to the disk.
    FolderSync,
}

impl Fault {
    fn parse(text: &str) -> Option<Self> {
        let (kind, at) = text.rsplit_once('@')?;
        let at = at.parse().ok()?;
        if let Some((kind, what)) = kind.split_once(':') {
            let value = match kind {
                "nan" => f32::NAN,
                "inf" => f32::INFINITY,
                _ => return None,
            };
            let what = what.to_owned();
            return Some(Self::Number { what, value, at });
        }
        let refuse = |what| {
            let number = i32::try_from(at).ok()?;
            Some(Self::Refuse { what, number })
        };
        match kind {
            "abort" => Some(Self::Abort { at }),
            "full" => Some(Self::Full { from: at }),
            "nolock" => refuse(Refused::Lock),
            "nofoldersync" => refuse(Refused::FolderSync),
            _ => None,
        }
    }
}

/// The fault that is armed, in programs that can be.
fn armed() -> Option<&'static Fault> {
    static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
    if cfg!(not(feature = "faults")) {
        return None;
    }
    FAULT
        .get_or_init(|| {
            let text = std::env::var(VARIABLE).ok()?;
            let fault = Fault::parse(&text);
            if fault.is_none() {
                tracing::warn!("{VARIABLE}={text} is not a fault that this program knows");
            }
            fault
        })
        .as_ref()
}

/// Whether writing is to be disturbed, so that it goes in small steps.
pub fn disturbs_writing() -> bool {
    matches!(armed(), Some(Fault::Abort { .. } | Fault::Full { .. }))
}

/// One step of writing is about to be made; `needs_space` if it could fill a disk.
///
/// # Errors
/// When the disk is to be full from here on.
pub fn write_step(needs_space: bool) -> io::Result<()> {
    static STEPS: AtomicU64 = AtomicU64::new(0);
    let next = || STEPS.fetch_add(1, Ordering::Relaxed) + 1;
    match armed() {
        Some(Fault::Abort { at }) if next() == *at => std::process::abort(),
        Some(Fault::Full { from }) if next() >= *from && needs_space => {
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    }
}

/// Whether the file system refuses `what`.
///
/// # Errors
/// When it does.
pub fn refusal(what: Refused) -> io::Result<()> {
    match armed() {
        Some(Fault::Refuse {
            what: refused,
            number,
        }) if *refused == what => Err(io::Error::from_raw_os_error(*number)),
        _ => Ok(()),
    }
}

/// Whether a number is to be spoilt.
pub fn spoils_numbers() -> bool {
    matches!(armed(), Some(Fault::Number { .. }))
}

/// What to put into `what` at `step`, once in the life of the process.
pub fn number(what: &str, step: u64) -> Option<f32> {
    number_where(step, |name| name == what).map(|(_, value)| value)
}

/// The name of what is to be spoilt at `step`, if `known` knows it, and the value to put there;
/// once in the life of the process.
pub fn number_where(step: u64, known: impl FnOnce(&str) -> bool) -> Option<(&'static str, f32)> {
    static SPENT: AtomicBool = AtomicBool::new(false);
    let Some(Fault::Number { what, value, at }) = armed() else {
        return None;
    };
    let strikes = step >= *at && known(what) && !SPENT.swap(true, Ordering::Relaxed);
    strikes.then_some((what.as_str(), *value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_written_as_documented() {
        assert_eq!(Fault::parse("abort@3"), Some(Fault::Abort { at: 3 }));
        assert_eq!(Fault::parse("full@1"), Some(Fault::Full { from: 1 }));
        let number = Fault::parse("inf:critics.l0.weight@40");
        let expected = Fault::Number {
            what: "critics.l0.weight".into(),
            value: f32::INFINITY,
            at: 40,
        };
        assert_eq!(number, Some(expected));
        let refused = Fault::Refuse {
            what: Refused::Lock,
            number: 37,
        };
        assert_eq!(Fault::parse("nolock@37"), Some(refused));
        for wrong in ["", "abort", "abort@", "@3", "abort@-1", "big:reward@3"] {
            assert_eq!(Fault::parse(wrong), None, "{wrong}");
        }
    }
}
