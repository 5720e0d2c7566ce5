//! The table as lines of text, for files, pipes and scripts.

use rescore_store::state::State;

use super::row::{COLUMNS, Row};

/// A line for each run below a header, and the number of runs in each state.
pub(super) fn lines(rows: &[&Row]) -> Vec<String> {
    let titles = COLUMNS.map(|column| column.title.to_owned());
    let mut cells = vec![titles];
    cells.extend(
        rows.iter()
            .map(|row| COLUMNS.map(|column| (column.cell)(row))),
    );
    let length = |text: &String| text.chars().count();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|at| {
            cells
                .iter()
                .map(|line| length(&line[at]))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let ends = rows.iter().map(|row| {
        let detail = row.detail().map(|detail| format!("  ({detail})"));
        format!("{}{}", row.whole_name(), detail.unwrap_or_default())
    });
    let ends = std::iter::once("folder".to_owned()).chain(ends);
    let mut lines: Vec<String> = cells
        .iter()
        .zip(ends)
        .map(|(cells, end)| {
            let padded = cells
                .iter()
                .zip(&widths)
                .zip(COLUMNS)
                .map(|((cell, width), column)| {
                    if column.is_number {
                        format!("{cell:>width$}  ")
                    } else {
                        format!("{cell:<width$}  ")
                    }
                });
            padded.collect::<String>() + &end
        })
        .collect();
    lines.push(State::count(rows.iter().map(|row| row.state)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_the_last_line_counts() {
        let mut long = Row::of("runs/long".into());
        long.state = State::Running;
        long.detail = Some("process 5 on here".to_owned());
        long.algorithm = Some("dpmd-reference".to_owned());
        (long.step, long.steps) = (Some(10), Some(1_000_000));
        let short = Row::of("runs/short".into());
        let lines = lines(&[&long, &short]);
        assert_eq!(lines.len(), 4);
        let places: Vec<_> = lines[1..3]
            .iter()
            .filter_map(|line| line.find("runs/"))
            .collect();
        assert_eq!(places, vec![lines[0].find("folder").expect("a column"); 2]);
        assert!(
            lines[1].ends_with("runs/long  (process 5 on here)"),
            "{}",
            lines[1]
        );
        assert!(
            lines[3].starts_with("2 runs: 0 done, 1 running, "),
            "{}",
            lines[3]
        );
    }
}
