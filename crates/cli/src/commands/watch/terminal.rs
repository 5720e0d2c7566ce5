//! The view in a terminal, which is left as it was found.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use rescore_store::StoreError;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use super::curve::Curves;
use super::runs::Runs;
use super::screen::{Screen, Wish};
use super::view::{Picture, draw};
use crate::Error;
use crate::commands::wants_colors;

/// How often signals are looked for.
const ATTENTION: Duration = Duration::from_millis(100);

/// Shows `runs` until the user leaves; their files are read every so often.
///
/// # Errors
/// When the terminal cannot be used.
pub(super) fn show(runs: &mut Runs, every: Duration) -> Result<(), Error> {
    let signal = signals().map_err(failed("prepare"))?;
    let mut terminal = Guard::enter()?;
    let result = watch(&mut terminal.0, runs, every, &signal);
    drop(terminal);
    let signal = signal.load(Ordering::Relaxed);
    if signal != 0 {
        // With the terminal as it was, the process ends as the signal would have ended it.
        low_level::emulate_default_handler(signal as i32).map_err(failed("leave"))?;
    }
    result
}

fn watch(
    terminal: &mut DefaultTerminal,
    runs: &mut Runs,
    every: Duration,
    signal: &AtomicUsize,
) -> Result<(), Error> {
    let (colors, folders) = (wants_colors(), runs.folders());
    let mut screen = Screen::default();
    let mut trouble = None;
    let mut next = Instant::now();
    while signal.load(Ordering::Relaxed) == 0 {
        if Instant::now() >= next {
            trouble = runs.refresh().err().map(|error| error.to_string());
            next = Instant::now() + every;
        }
        let rows = screen.arrange(runs.rows());
        let selected = screen.selected().and_then(|path| runs.find(path));
        let curves = selected.map(|run| {
            let [evaluations, training] = run.curves();
            Curves {
                evaluations,
                training,
            }
        });
        let picture = Picture {
            rows: &rows,
            curves,
            folders: &folders,
            trouble: trouble.as_deref(),
            colors,
        };
        let drawn = terminal.draw(|frame| draw(frame, &mut screen, &picture));
        drawn.map_err(failed("draw on"))?;
        // Until something is to be drawn anew.
        while signal.load(Ordering::Relaxed) == 0 && Instant::now() < next {
            let wait = next.saturating_duration_since(Instant::now());
            if !event::poll(wait.min(ATTENTION)).map_err(failed("read from"))? {
                continue;
            }
            match event::read().map_err(failed("read from"))? {
                Event::Key(key) => match screen.press(key) {
                    Wish::Leave => return Ok(()),
                    Wish::Refresh => next = Instant::now(),
                    Wish::Draw => {}
                },
                Event::Resize(..) => {}
                _ => continue,
            }
            break;
        }
    }
    Ok(())
}

fn failed(action: &'static str) -> impl Fn(std::io::Error) -> StoreError {
    move |error| StoreError::io(action, Path::new("the terminal"))(error)
}

/// The last signal that asked the process to end, or 0. From now on none ends it by itself.
fn signals() -> std::io::Result<Arc<AtomicUsize>> {
    let arrived = Arc::new(AtomicUsize::new(0));
    let mut all = vec![SIGINT, SIGTERM];
    #[cfg(unix)]
    all.push(signal_hook::consts::SIGHUP);
    for signal in all {
        flag::register_usize(signal, Arc::clone(&arrived), signal as usize)?;
    }
    Ok(arrived)
}

/// A terminal whose lines and keys are the program's. It is left as it was, after a panic too: the
/// message of a panic comes after that (`ratatui` sees to it).
struct Guard(DefaultTerminal);

impl Guard {
    fn enter() -> Result<Self, StoreError> {
        let terminal = ratatui::try_init();
        Ok(Self(terminal.map_err(|error| {
            let _ = ratatui::try_restore();
            failed("use")(error)
        })?))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}
