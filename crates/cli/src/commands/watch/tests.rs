//! The view on terminals of many sizes, without a terminal.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use rescore_store::state::State;

use super::curve::Curves;
use super::row::Row;
use super::screen::Screen;
use super::view::{Picture, draw};

fn row(number: usize) -> Row {
    let state = State::ALL[number % State::ALL.len()];
    Row {
        state,
        detail: (state == State::Failed).then(|| format!("reason {number} {}", "word ".repeat(60))),
        algorithm: Some("dpmd".to_owned()),
        task: Some("HalfCheetah-v4".to_owned()),
        seed: Some(number as i64),
        step: Some(number as u64 * 1000),
        steps: Some(200_000),
        last_return: Some(number as f64 * 10.5),
        best_return: Some(-1e7),
        episode_return: None,
        env_steps_per_s: Some(123.4),
        seconds_left: (state == State::Running).then_some(3600.0),
        ..Row::of(format!("runs/run-{number:03}").into())
    }
}

fn curves() -> Curves {
    let points = (0..40).map(|i| (f64::from(i) * 5000.0, f64::from(i * i)));
    Curves {
        evaluations: points.clone().collect(),
        training: points
            .map(|(step, value)| (step, value / 2.0))
            .chain([(1.0, f64::NAN)])
            .collect(),
    }
}

struct Stage {
    terminal: Terminal<TestBackend>,
    screen: Screen,
    rows: Vec<Row>,
    curves: Option<Curves>,
    colors: bool,
}

impl Stage {
    fn new(width: u16, height: u16, rows: usize) -> Self {
        let backend = TestBackend::new(width, height);
        Self {
            terminal: Terminal::new(backend).expect("no real terminal"),
            screen: Screen::default(),
            rows: (0..rows).map(row).collect(),
            curves: Some(curves()),
            colors: true,
        }
    }

    /// The lines on the terminal.
    fn draw(&mut self) -> Vec<String> {
        let rows = self.screen.arrange(self.rows.iter());
        let picture = Picture {
            rows: &rows,
            curves: self.curves.clone(),
            folders: "runs",
            trouble: Some("cannot read elsewhere"),
            colors: self.colors,
        };
        let drawn = self
            .terminal
            .draw(|frame| draw(frame, &mut self.screen, &picture));
        drawn.expect("no real terminal");
        let buffer = self.terminal.backend().buffer();
        let width = usize::from(buffer.area.width.max(1));
        let cells: Vec<&str> = buffer.content().iter().map(Cell::symbol).collect();
        cells.chunks(width).map(<[&str]>::concat).collect()
    }

    fn press(&mut self, code: KeyCode) {
        self.screen.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

fn has(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

#[test]
fn a_wide_terminal_shows_every_column_the_curve_and_the_reason() {
    let mut stage = Stage::new(180, 40, 5);
    for _ in 0..3 {
        stage.draw();
        stage.press(KeyCode::Down);
    }
    let lines = stage.draw();
    for text in [
        "5 runs: 1 done, 1 running, 1 stopped, 1 failed, 1 not started  in runs",
        "cannot read elsewhere",
        "state",
        "algorithm",
        "task",
        "seed",
        "step",
        "last",
        "best",
        "training",
        "steps/s",
        "left",
        "HalfCheetah-v4",
        "3000/200000",
        "-1.00e7",
        "1:00:00",
        "\u{2591}",
        "run-002",
        " runs/run-003 ",
        "failed: reason 3 word",
        "evaluation",
        "training episodes",
        "200000",
        " q  quit",
        "sort by (name)",
    ] {
        assert!(has(&lines, text), "no `{text}` in\n{}", lines.join("\n"));
    }
    // The curve is drawn with braille.
    let braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
    assert!(lines.iter().any(|line| line.contains(braille)));
    stage.curves = Some(Curves::default());
    assert!(has(&stage.draw(), "no evaluation yet"));
}

#[test]
fn a_narrow_terminal_keeps_the_columns_that_matter_most() {
    let lines = Stage::new(44, 24, 3).draw();
    let header = lines
        .iter()
        .find(|line| line.contains("state"))
        .expect("a header");
    assert!(
        header.contains("algorithm") && header.contains('%'),
        "{header}"
    );
    assert!(!header.contains("steps/s"), "{header}");
}

#[test]
fn of_two_hundred_runs_those_around_the_selected_one_are_in_sight() {
    let mut stage = Stage::new(120, 30, 200);
    assert!(has(&stage.draw(), "0/200000"));
    stage.press(KeyCode::End);
    let lines = stage.draw();
    assert!(
        has(&lines, "199000/200000") && has(&lines, "runs/run-199"),
        "{lines:?}"
    );
    let page = stage.screen.page;
    assert!(page > 5 && page < 30, "{page}");
    stage.press(KeyCode::PageUp);
    stage.draw();
    assert_eq!(stage.screen.table.selected(), Some(199 - page));
}

#[test]
fn no_terminal_is_too_small() {
    let sides = [0, 1, 2, 3, 5, 14, 24, 90];
    for width in sides {
        for height in sides {
            for rows in [0, 1, 200] {
                let mut stage = Stage::new(width, height, rows);
                stage.draw();
                stage.press(KeyCode::End);
                stage.draw();
                stage.terminal.backend_mut().resize(height, width);
                stage.draw();
            }
        }
    }
    let lines = Stage::new(20, 5, 3).draw();
    assert!(has(&lines, "done"), "{lines:?}");
    assert!(has(&Stage::new(40, 5, 0).draw(), "no runs yet in runs"));
}

#[test]
fn without_colours_nothing_has_one() {
    for (colors, expected) in [(true, true), (false, false)] {
        let mut stage = Stage::new(180, 40, 5);
        stage.colors = colors;
        stage.draw();
        let mut cells = stage.terminal.backend().buffer().content().iter();
        let colored = cells.any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(colored, expected);
    }
}
