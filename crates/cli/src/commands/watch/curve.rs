//! The learning curve of a run as a chart of characters.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, LegendPosition, Paragraph};

use super::row::short;

/// A chart in less space shows nothing.
const NARROWEST: u16 = 24;
const LOWEST: u16 = 5;

/// Mean returns by step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Curves {
    pub evaluations: Vec<(f64, f64)>,
    /// Of training episodes.
    pub training: Vec<(f64, f64)>,
}

/// Draws the curves of a run that is to have so many steps.
pub(super) fn draw_curves(
    frame: &mut Frame<'_>,
    area: Rect,
    curves: &Curves,
    steps: Option<u64>,
    colors: bool,
) {
    if area.width < NARROWEST || area.height < LOWEST {
        return;
    }
    let finite = |(step, value): &&(f64, f64)| step.is_finite() && value.is_finite();
    let [evaluations, training] = [&curves.evaluations, &curves.training]
        .map(|points| points.iter().filter(finite).copied().collect::<Vec<_>>());
    let all = || evaluations.iter().chain(&training);
    if all().next().is_none() {
        frame.render_widget(Paragraph::new("no evaluation yet"), area);
        return;
    }
    let last = all().map(|point| point.0).fold(1.0, f64::max);
    let end = steps.map_or(last, |steps| last.max(steps as f64));
    let [low, high] = bounds(all().map(|point| point.1));
    let fg = |color: Color| {
        if colors {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    };
    let (has_training, has_evaluations) = (!training.is_empty(), !evaluations.is_empty());
    // Points below a line are told from it without colours, too.
    let training = Dataset::default()
        .name("training episodes")
        .marker(if colors { Marker::Braille } else { Marker::Dot })
        .graph_type(GraphType::Scatter)
        .style(fg(Color::DarkGray))
        .data(&training);
    let evaluated = Dataset::default()
        .name("evaluation")
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(fg(Color::Cyan))
        .data(&evaluations);
    let count = |steps: f64| format!("{steps:.0}");
    let x =
        Axis::default()
            .bounds([0.0, end])
            .labels(["0".to_owned(), count(end / 2.0), count(end)]);
    let y = Axis::default().bounds([low, high]).labels([
        short(low),
        short(f64::midpoint(low, high)),
        short(high),
    ]);
    let sets = [(has_training, training), (has_evaluations, evaluated)];
    let sets = sets.into_iter().filter_map(|(has, set)| has.then_some(set));
    // A good curve ends in the upper right corner.
    let chart = Chart::new(sets.collect())
        .x_axis(x)
        .y_axis(y)
        .legend_position(Some(LegendPosition::BottomRight));
    frame.render_widget(chart, area);
}

/// The range of `values`, a little wider; never empty.
fn bounds(values: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    // Halves, because the difference of two large numbers may be infinite.
    let margin = ((high / 2.0 - low / 2.0) * 0.1)
        .max(low.abs().max(high.abs()) * 1e-6)
        .max(1e-9);
    [low - margin, high + margin]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_never_empty() {
        for values in [&[0.0][..], &[1e300], &[-5.0, 7.0], &[1e12, 1e12 + 1.0]] {
            let [low, high] = bounds(values.iter().copied());
            assert!(low < high, "{values:?}");
            assert!(values.iter().all(|value| low <= *value && *value <= high));
        }
    }
}
