//! What the user has chosen: a run, an order. Keys change it.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::TableState;
use rescore_store::state::State;

use super::row::Row;

/// The order of the runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// As the folders hold them: by name, runs of a sweep by number.
    #[default]
    Name,
    /// Those that go on first, those that are done last.
    State,
    /// The best last evaluation first.
    Return,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Return => "return",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Name => Self::State,
            Self::State => Self::Return,
            Self::Return => Self::Name,
        }
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        let urgency = |row: &Row| match row.state {
            State::Running => 0,
            State::Failed => 1,
            State::Stopped => 2,
            State::NotStarted => 3,
            State::Done => 4,
        };
        let value = |row: &Row| row.last_return.unwrap_or(f64::NEG_INFINITY);
        match self {
            Self::Name => Ordering::Equal,
            Self::State => urgency(a).cmp(&urgency(b)),
            Self::Return => value(b).total_cmp(&value(a)),
        }
    }
}

/// What a key asks of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing beyond another picture.
    Draw,
    /// To read the files now.
    Refresh,
    /// To end.
    Leave,
}

/// What is chosen. The run stays chosen wherever it moves.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub sort: Sort,
    /// Which rows are in sight.
    pub table: TableState,
    /// Rows in sight, as drawn last.
    pub page: usize,
    selected: Option<PathBuf>,
    shown: Vec<PathBuf>,
}

impl Screen {
    /// The rows in the order of the table. One of them is selected, if there is any.
    pub(super) fn arrange<'a>(&mut self, rows: impl Iterator<Item = &'a Row>) -> Vec<&'a Row> {
        let mut rows: Vec<&Row> = rows.collect();
        // Stable: rows that are alike stay in the order of their names.
        rows.sort_by(|a, b| self.sort.compare(a, b));
        self.shown = rows.iter().map(|row| row.path.clone()).collect();
        let at = self
            .shown
            .iter()
            .position(|path| Some(path) == self.selected.as_ref());
        // Where the selected run is gone, the one in its place is.
        self.select(at.or(self.table.selected()).unwrap_or(0));
        rows
    }

    fn select(&mut self, at: usize) {
        let last = self.shown.len().checked_sub(1);
        let at = last.map(|last| at.min(last));
        self.table.select(at);
        self.selected = at.map(|at| self.shown[at].clone());
    }

    /// The folder of the selected run.
    pub(super) fn selected(&self) -> Option<&Path> {
        self.selected.as_deref()
    }

    /// Does what a key stands for.
    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Draw;
        }
        let at = self.table.selected().unwrap_or(0);
        let page = self.page.max(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Wish::Leave;
            }
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Leave,
            KeyCode::Char('r') => return Wish::Refresh,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Up | KeyCode::Char('k') => self.select(at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(at + 1),
            KeyCode::PageUp => self.select(at.saturating_sub(page)),
            KeyCode::PageDown => self.select(at + page),
            KeyCode::Home | KeyCode::Char('g') => self.select(0),
            KeyCode::End | KeyCode::Char('G') => self.select(usize::MAX),
            _ => {}
        }
        Wish::Draw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |name: &str, state, last_return| Row {
            state,
            last_return,
            ..Row::of(name.into())
        };
        vec![
            row("a", State::Done, Some(-5.0)),
            row("b", State::Running, None),
            row("c", State::Failed, Some(7.0)),
        ]
    }

    fn names(rows: &[&Row]) -> String {
        rows.iter()
            .map(|row| row.path.display().to_string())
            .collect()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Wish {
        screen.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn s_cycles_through_the_orders_and_the_selected_run_stays_selected() {
        let (mut screen, rows) = (Screen::default(), rows());
        for (order, place) in [("abc", 1), ("bca", 0), ("cab", 2), ("abc", 1)] {
            if screen.selected().is_none() {
                screen.arrange(rows.iter());
                press(&mut screen, KeyCode::Down);
            }
            assert_eq!(names(&screen.arrange(rows.iter())), order);
            assert_eq!(screen.selected(), Some(Path::new("b")));
            assert_eq!(screen.table.selected(), Some(place));
            assert_eq!(press(&mut screen, KeyCode::Char('s')), Wish::Draw);
        }
    }

    #[test]
    fn keys_move_within_the_rows() {
        let (mut screen, mut rows) = (Screen::default(), rows());
        screen.arrange(rows.iter());
        for (code, place) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::Char('j'), 2),
            (KeyCode::Char('j'), 2),
            (KeyCode::Char('k'), 1),
            (KeyCode::End, 2),
            (KeyCode::Home, 0),
            (KeyCode::Char('G'), 2),
            (KeyCode::Char('g'), 0),
            (KeyCode::PageDown, 1),
            (KeyCode::PageUp, 0),
            (KeyCode::Left, 0),
            (KeyCode::End, 2),
        ] {
            press(&mut screen, code);
            assert_eq!(screen.table.selected(), Some(place), "{code:?}");
        }
        // Runs that are gone take nothing along.
        rows.pop();
        screen.arrange(rows.iter());
        assert_eq!(screen.selected(), Some(Path::new("b")));
        assert!(screen.arrange([].iter()).is_empty());
        assert_eq!(screen.selected(), None);
        press(&mut screen, KeyCode::End);
        assert_eq!(screen.table.selected(), None);
    }

    #[test]
    fn q_escape_and_control_c_leave() {
        let mut screen = Screen::default();
        for code in [KeyCode::Char('q'), KeyCode::Esc] {
            assert_eq!(press(&mut screen, code), Wish::Leave);
        }
        let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(screen.press(control), Wish::Leave);
        assert_eq!(press(&mut screen, KeyCode::Char('c')), Wish::Draw);
        assert_eq!(press(&mut screen, KeyCode::Char('r')), Wish::Refresh);
        let released = KeyEvent {
            kind: KeyEventKind::Release,
            ..KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)
        };
        assert_eq!(screen.press(released), Wish::Draw);
    }
}
