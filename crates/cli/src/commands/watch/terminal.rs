//! The view in a terminal, which is left as it was found.

#[cfg(unix)]
use std::fs::File;
#[cfg(unix)]
use std::io::IsTerminal as _;
#[cfg(unix)]
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use rescore_store::StoreError;
#[cfg(unix)]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
#[cfg(unix)]
use rustix::io::Errno;
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
    let input = Input::open().map_err(failed("read from"))?;
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
            match input
                .wait(wait.min(ATTENTION))
                .map_err(failed("read from"))?
            {
                // Nobody is left who could see it.
                Heard::End => return Ok(()),
                Heard::Nothing => continue,
                Heard::Event => {}
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

/// Where keys come from.
struct Input {
    /// A terminal, which `crossterm` chooses likewise.
    #[cfg(unix)]
    terminal: std::os::fd::OwnedFd,
}

/// What waiting for keys has led to.
enum Heard {
    /// There is something to read.
    Event,
    /// The time is over.
    Nothing,
    /// The terminal is gone.
    End,
}

impl Input {
    #[cfg(unix)]
    fn open() -> std::io::Result<Self> {
        let stdin = std::io::stdin();
        let terminal = if stdin.is_terminal() {
            stdin.as_fd().try_clone_to_owned()?
        } else {
            File::open("/dev/tty")?.into()
        };
        Ok(Self { terminal })
    }

    /// Waits for something to read. A terminal that is gone is noticed before `crossterm` reads from it:
    /// it would take the end of the file for no event yet, and never return.
    #[cfg(unix)]
    fn wait(&self, time: Duration) -> std::io::Result<Heard> {
        // Several keys may have been read at once: those that wait are asked for first.
        for time in [Duration::ZERO, time] {
            let mut look = [PollFd::new(&self.terminal, PollFlags::IN)];
            let time = Timespec::try_from(time).map_err(std::io::Error::other)?;
            match poll(&mut look, Some(&time)) {
                // A signal, which may be that of another size.
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
            if look[0].revents().intersects(gone) {
                return Ok(Heard::End);
            }
            if event::poll(Duration::ZERO)? {
                return Ok(Heard::Event);
            }
        }
        Ok(Heard::Nothing)
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "as elsewhere")]
    fn open() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    fn wait(&self, time: Duration) -> std::io::Result<Heard> {
        let is_event = event::poll(time)?;
        Ok(if is_event {
            Heard::Event
        } else {
            Heard::Nothing
        })
    }
}

fn failed(action: &'static str) -> impl Fn(std::io::Error) -> StoreError {
    move |error| StoreError::io(action, Path::new("the terminal"))(error)
}

/// The last signal that asked the process to end, or 0. A second one ends it by itself, whatever it is
/// doing.
fn signals() -> std::io::Result<Arc<AtomicUsize>> {
    let arrived = Arc::new(AtomicUsize::new(0));
    let mut all = vec![SIGINT, SIGTERM];
    #[cfg(unix)]
    all.push(signal_hook::consts::SIGHUP);
    let is_second = Arc::new(AtomicBool::new(false));
    for signal in all {
        flag::register_conditional_default(signal, Arc::clone(&is_second))?;
        flag::register(signal, Arc::clone(&is_second))?;
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
