//! Progress on stderr: a bar on a terminal, otherwise a plain line every ten seconds.

use std::io::{IsTerminal as _, Write};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// All bars of the program, so that log lines can be written above them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes log lines to stderr without tearing a bar. A stderr that is closed, as that of a terminal
/// that is gone, is no error: it must not keep a run from saving itself.
#[derive(Debug, Clone, Copy)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = BARS.suspend(|| std::io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let _ = std::io::stderr().flush();
        Ok(())
    }
}

/// Shows how far a phase of the run is.
#[derive(Debug)]
pub struct Progress {
    phase: &'static str,
    total: u64,
    first: u64,
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// Begins a phase of `total` environment steps, of which `first` were done before.
    pub fn begin(phase: &'static str, first: u64, total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        let bar = terminal.then(|| {
            let bar = BARS.add(ProgressBar::new(total));
            let template = "{prefix} [{bar:24}] {pos}/{len} {per_sec} ETA {eta} {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(phase);
            bar.set_position(first.min(total));
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        Self {
            phase,
            total,
            first,
            bar,
            started: now,
            last_line: now,
        }
    }

    /// Shows that `step` steps are done; `message` is asked for only when it is shown.
    pub fn show(&mut self, step: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(step.min(self.total));
            bar.set_message(message());
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            self.line(step, &message());
        }
    }

    /// Ends the phase with a last line.
    pub fn finish(self, step: u64, message: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(step.min(self.total));
                bar.finish_with_message(message.to_owned());
            }
            None => self.line(step, message),
        }
    }

    fn line(&self, step: u64, message: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = step.saturating_sub(self.first) as f64 / seconds.max(1e-9);
        let left = self.total.saturating_sub(step) as f64 / rate.max(1e-9);
        // A closed stderr is no reason to end a run.
        let _ = writeln!(
            std::io::stderr(),
            "{} {step}/{} steps, {rate:.0} steps/s, ETA {}{}{message}",
            self.phase,
            self.total,
            clock(left),
            if message.is_empty() { "" } else { ", " },
        );
    }
}

/// Seconds as `h:mm:ss`.
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.min(1e9).round() as u64;
    format!(
        "{}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_reads_like_a_clock() {
        assert_eq!(clock(3725.4), "1:02:05");
        assert_eq!(clock(f64::INFINITY), clock(1e9));
    }
}
