//! Learning curves as SVG.

mod curve;
mod seeds;

use std::path::{Path, PathBuf};

use plotters::prelude::*;

use crate::RunError;
use crate::durable::write_whole;
pub use curve::Curve;
pub use seeds::Group;

/// Colours that the colour-blind can tell apart (Okabe and Ito, 2008), without yellow.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Draws the curves of `runs` over each other into `out`: mean return of the evaluations against
/// environment steps, with a band of one standard deviation over the episodes.
///
/// # Errors
/// When a run cannot be read or the file cannot be written.
pub fn plot(runs: &[PathBuf], out: &Path) -> Result<(), RunError> {
    let curves = runs.iter().map(|run| Curve::read(run));
    write(&curves.collect::<Result<Vec<_>, _>>()?, "episodes", out)
}

/// As [`plot`], but runs that differ in nothing but their seed are one curve: their mean, with a
/// band of one standard deviation over them. Gives what [`Group::summary`] says of each.
///
/// # Errors
/// Also when two such runs have the same seed, or no evaluation at a step that all have.
pub fn plot_over_seeds(runs: &[PathBuf], out: &Path) -> Result<Vec<String>, RunError> {
    let groups = Group::of(runs)?;
    let curves = groups.iter().map(Group::curve);
    write(&curves.collect::<Result<Vec<_>, _>>()?, "seeds", out)?;
    Ok(groups.iter().map(Group::summary).collect())
}

/// Draws the curves, whose bands are over `what`, into `out`.
fn write(curves: &[Curve], what: &str, out: &Path) -> Result<(), RunError> {
    let svg = draw(curves, what).map_err(|error| RunError::Plot {
        path: out.to_owned(),
        message: error.to_string(),
    })?;
    write_whole(out, svg.as_bytes())
}

/// The SVG text of the curves, whose bands are over `what`.
fn draw(curves: &[Curve], what: &str) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (880, 520)).into_drawing_area();
        root.fill(&WHITE)?;
        let (x, y) = ranges(curves);
        let mut chart = ChartBuilder::on(&root)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(68)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .x_desc("environment steps")
            .y_desc(format!(
                "evaluation return (mean, band: one standard deviation over {what})"
            ))
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .label_style(("sans-serif", 14))
            .draw()?;
        for (curve, color) in curves.iter().zip(PALETTE.iter().cycle()) {
            let upper = curve.points.iter().map(|(x, mean, std)| (*x, mean + std));
            let lower = curve.points.iter().map(|(x, mean, std)| (*x, mean - std));
            let band: Vec<_> = upper.chain(lower.rev()).collect();
            chart.draw_series([Polygon::new(band, color.mix(0.15))])?;
            let line = curve.points.iter().map(|(x, mean, _)| (*x, *mean));
            chart
                .draw_series(LineSeries::new(line.clone(), color.stroke_width(2)))?
                .label(&curve.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                });
            chart.draw_series(line.map(|point| Circle::new(point, 3, color.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .label_font(("sans-serif", 14))
            .draw()?;
        root.present()?;
    }
    Ok(svg)
}

/// Axes from 0 to the last step, and around all bands with a margin.
fn ranges(curves: &[Curve]) -> (std::ops::Range<f64>, std::ops::Range<f64>) {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last = points().map(|p| p.0).fold(1.0, f64::max);
    let low = points().map(|p| p.1 - p.2).fold(f64::INFINITY, f64::min);
    let high = points()
        .map(|p| p.1 + p.2)
        .fold(f64::NEG_INFINITY, f64::max);
    let margin = (0.06 * (high - low)).max(1e-6 * high.abs().max(1.0));
    (0.0..last, low - margin..high + margin)
}

/// A number for an axis: thousands and millions abbreviated, no trailing zeros.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{unit}", (scaled * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_run(folder: &Path, text: &str) -> PathBuf {
        std::fs::create_dir_all(folder).expect("writable");
        std::fs::write(folder.join("eval.csv"), text).expect("writable");
        folder.to_owned()
    }

    #[test]
    fn several_runs_are_drawn_with_their_names() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let header = "step,episodes,mean_return,std_return,return_0\n";
        let runs = [
            write_run(
                &folder.path().join("first"),
                &format!("{header}10,1,-5,0,-5\n20,1,7,2,7\n"),
            ),
            write_run(
                &folder.path().join("second"),
                &format!("{header}10,1,3,1,3\n"),
            ),
        ];
        let out = folder.path().join("curve.svg");
        plot(&runs, &out).expect("two readable runs");
        let svg = std::fs::read_to_string(out).expect("just written");
        for text in [
            "first",
            "second",
            "environment steps",
            "<polygon",
            "<polyline",
        ] {
            assert!(svg.contains(text), "no {text} in the drawing");
        }
    }

    #[test]
    fn axis_numbers_are_short() {
        assert_eq!(
            [0.0, 950.0, 50_000.0, 1_250_000.0].map(short),
            ["0", "950", "50k", "1.25M"]
        );
    }
}
