//! Drawing: the table of all runs, and the selected run with its learning curve.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row as Cells, Table, Wrap};
use rescore_store::state::State;

use super::curve::{Curves, draw_curves};
use super::row::{COLUMNS, Column, Row};
use super::screen::Screen;

/// Between columns.
const GAP: u16 = 2;
/// Cells of the bar that shows how far a run is.
const BAR: u16 = 12;
/// The name of a folder in fewer columns says nothing.
const NARROWEST_NAME: u16 = 12;
/// Lines of the table and of the curve, each, below which there is no curve.
const LEAST: u16 = 7;

/// What is drawn.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    /// In the order of the table.
    pub rows: &'a [&'a Row],
    /// Of the selected run.
    pub curves: Option<Curves>,
    /// Where the runs are, in words.
    pub folders: &'a str,
    /// What went wrong outside of a run.
    pub trouble: Option<&'a str>,
    /// Whether there are colours.
    pub colors: bool,
}

impl Picture<'_> {
    fn color(&self, color: Color) -> Style {
        if self.colors {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    fn state(&self, state: State) -> Style {
        self.color(match state {
            State::Done => Color::Cyan,
            State::Running => Color::Green,
            State::Stopped => Color::Yellow,
            State::Failed => Color::Red,
            State::NotStarted => Color::DarkGray,
        })
    }
}

/// Draws everything, on a terminal of any size.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen, picture: &Picture<'_>) {
    let area = frame.area();
    let line = |least: u16| Constraint::Length(u16::from(area.height >= least));
    let [head, body, foot] = Layout::vertical([line(3), Constraint::Fill(1), line(5)]).areas(area);
    frame.render_widget(heading(picture), head);
    frame.render_widget(Paragraph::new(keys(screen)), foot);
    if picture.rows.is_empty() {
        let words = format!("no runs yet in {}", picture.folders);
        frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), body);
        return;
    }
    let below = height_below(body.height, picture.rows.len());
    let [table, below] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(below)]).areas(body);
    draw_table(frame, table, screen, picture);
    let selected = screen.table.selected().and_then(|at| picture.rows.get(at));
    if let Some(row) = selected
        && below.height > 0
    {
        draw_selected(frame, below, row, picture);
    }
}

/// Lines for the selected run, of `height`: what a short table leaves, else a little less than half.
fn height_below(height: u16, rows: usize) -> u16 {
    if height < 2 * LEAST {
        return 0;
    }
    let table = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(1);
    let left = height.saturating_sub(table);
    left.max(height * 9 / 20).clamp(LEAST, height - 2)
}

fn heading(picture: &Picture<'_>) -> Paragraph<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![
        Span::styled(State::count(picture.rows.iter().map(|row| row.state)), bold),
        Span::raw(format!("  in {}", picture.folders)),
    ];
    if let Some(trouble) = picture.trouble {
        spans.insert(
            0,
            Span::styled(format!("{trouble}  "), picture.color(Color::Red)),
        );
    }
    Paragraph::new(Line::from(spans))
}

fn keys(screen: &Screen) -> Line<'static> {
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    let keys = [
        ("q", "quit".to_owned()),
        ("\u{2191}\u{2193} j k", "select".to_owned()),
        ("s", format!("sort by ({})", screen.sort.name())),
        ("r", "refresh".to_owned()),
        ("PgUp PgDn Home End", "move".to_owned()),
    ];
    let spans = keys.into_iter().flat_map(|(key, what)| {
        let key = Span::styled(format!(" {key} "), reversed);
        [key, Span::raw(format!(" {what}  "))]
    });
    Line::from(spans.collect::<Vec<_>>())
}

/// Columns that fit side by side, with their widths, and what is left.
fn fitting(rows: &[&Row], width: u16) -> (Vec<(Column, u16)>, u16) {
    let length = |text: &str| u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    let widths = COLUMNS.map(|column| {
        let cells = rows.iter().map(|row| length(&(column.cell)(row)));
        cells.max().unwrap_or(0).max(length(column.title))
    });
    let mut by_rank: Vec<usize> = (0..COLUMNS.len()).collect();
    by_rank.sort_by_key(|at| COLUMNS[*at].rank);
    let mut left = width;
    let mut fits = [false; COLUMNS.len()];
    for at in by_rank {
        let needed = widths[at].saturating_add(GAP);
        // The first one is cut where it does not fit. After one that does not, none of less rank is
        // shown, so that columns do not come and go as numbers grow.
        if needed > left && COLUMNS[at].rank > 0 {
            break;
        }
        fits[at] = true;
        left = left.saturating_sub(needed);
    }
    let shown = (0..COLUMNS.len()).filter(|at| fits[*at]);
    (shown.map(|at| (COLUMNS[at], widths[at])).collect(), left)
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen, picture: &Picture<'_>) {
    let (columns, left) = fitting(picture.rows, area.width);
    let complete = columns.len() == COLUMNS.len();
    let bar = complete && left >= BAR + GAP;
    let left = left.saturating_sub(if bar { BAR + GAP } else { 0 });
    // Runs of a sweep may differ in nothing else.
    let longest = picture
        .rows
        .iter()
        .map(|row| row.name().chars().count())
        .max();
    let name = left >= NARROWEST_NAME.min(longest.unwrap_or(0).min(100) as u16);
    let mut widths: Vec<u16> = columns.iter().map(|(_, width)| *width).collect();
    widths.extend([BAR].iter().filter(|_| bar));
    widths.extend([left].iter().filter(|_| name));
    let aligned = |text: String, column: &Column| {
        let line = Line::from(text);
        Cell::from(if column.is_number {
            line.right_aligned()
        } else {
            line
        })
    };
    let cells = |row: &&Row| {
        let style = picture.state(row.state);
        let mut cells: Vec<Cell<'_>> = columns
            .iter()
            .map(|(column, _)| {
                let cell = aligned((column.cell)(row), column);
                if column.rank == 0 {
                    cell.style(style)
                } else {
                    cell
                }
            })
            .collect();
        if bar {
            cells.push(Cell::from(progress(row)).style(style));
        }
        if name {
            cells.push(Cell::from(row.name()));
        }
        Cells::new(cells)
    };
    let mut titles: Vec<Cell<'_>> = columns
        .iter()
        .map(|(column, _)| aligned(column.title.to_owned(), column))
        .collect();
    titles.extend(bar.then(|| Cell::from("")));
    titles.extend(name.then(|| Cell::from("folder")));
    // Where there is one line, it is the selected run.
    let has_header = area.height > 1;
    let mut table = Table::new(picture.rows.iter().map(cells), widths)
        .column_spacing(GAP)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    if has_header {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        table = table.header(Cells::new(titles).style(bold));
    }
    screen.page = usize::from(area.height.saturating_sub(u16::from(has_header)));
    // A table that has grown, or lost rows, shows as many as fit.
    let most = picture.rows.len().saturating_sub(screen.page);
    *screen.table.offset_mut() = screen.table.offset().min(most);
    frame.render_stateful_widget(table, area, &mut screen.table);
}

fn progress(row: &Row) -> String {
    let cells = usize::from(BAR);
    let full = row
        .share()
        .map_or(0, |share| (share * cells as f64) as usize)
        .min(cells);
    "\u{2588}".repeat(full) + &"\u{2591}".repeat(cells - full)
}

/// The folder of the selected run, what there is to say about it, and its learning curve.
fn draw_selected(frame: &mut Frame<'_>, area: Rect, row: &Row, picture: &Picture<'_>) {
    let title = format!(" {} ", row.whole_name());
    let block = Block::new().borders(Borders::TOP).title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let words = row
        .detail()
        .map(|detail| format!("{}: {detail}", row.state));
    let lines = words.as_deref().map_or(0, |words| {
        let length = words.chars().count();
        // A word that is moved to the next line leaves a gap.
        length.div_ceil(usize::from(inner.width.max(10)) - 5).min(3)
    });
    let lines = Constraint::Length(lines as u16);
    let [detail, curve] = Layout::vertical([lines, Constraint::Fill(1)]).areas(inner);
    if let Some(words) = words {
        let style = picture.state(row.state);
        let words = Paragraph::new(words).style(style).wrap(Wrap { trim: true });
        frame.render_widget(words, detail);
    }
    if let Some(curves) = &picture.curves {
        draw_curves(frame, curve, curves, row.steps, picture.colors);
    }
}
