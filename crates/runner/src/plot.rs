//! Learning curves as SVG.

use std::path::{Path, PathBuf};

use plotters::prelude::*;

use crate::RunError;
use crate::durable::write_whole;

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

/// The learning curve of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Name of the run folder.
    pub name: String,
    /// Step, mean return and standard deviation of each evaluation.
    pub points: Vec<(f64, f64, f64)>,
}

impl Curve {
    /// Reads `eval.csv` of the run folder `run`.
    ///
    /// # Errors
    /// When the file is missing, damaged or holds no evaluation yet.
    pub fn read(run: &Path) -> Result<Self, RunError> {
        let path = run.join("eval.csv");
        let text = std::fs::read_to_string(&path).map_err(RunError::io("read", &path))?;
        let corrupt = |message: String| RunError::Corrupt {
            path: path.clone(),
            message,
        };
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(|e| corrupt(e.to_string()))?;
        let column = |name: &str| {
            let place = header.iter().position(|column| column == name);
            place.ok_or_else(|| corrupt(format!("it has no column `{name}`")))
        };
        let columns = [
            column("step")?,
            column("mean_return")?,
            column("std_return")?,
        ];
        let mut points = Vec::new();
        for (row, record) in reader.records().enumerate() {
            let record = record.map_err(|e| corrupt(e.to_string()))?;
            let mut values = [0.0; 3];
            for (value, column) in values.iter_mut().zip(columns) {
                let text = record.get(column).unwrap_or_default();
                *value = text
                    .parse()
                    .ok()
                    .filter(|v: &f64| v.is_finite())
                    .ok_or_else(|| corrupt(format!("line {}: `{text}` is no number", row + 2)))?;
            }
            points.push((values[0], values[1], values[2]));
        }
        if points.is_empty() {
            return Err(corrupt("it holds no evaluation yet".into()));
        }
        let name = std::fs::canonicalize(run)
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(Self {
            name: name.unwrap_or_else(|| run.display().to_string()),
            points,
        })
    }
}

/// Draws the curves of `runs` over each other into `out`: mean return of the evaluations against
/// environment steps, with a band of one standard deviation over the episodes.
///
/// # Errors
/// When a run cannot be read or the file cannot be written.
pub fn plot(runs: &[PathBuf], out: &Path) -> Result<(), RunError> {
    let curves = runs
        .iter()
        .map(|run| Curve::read(run))
        .collect::<Result<Vec<_>, _>>()?;
    let svg = draw(&curves).map_err(|error| RunError::Plot {
        path: out.to_owned(),
        message: error.to_string(),
    })?;
    write_whole(out, svg.as_bytes())
}

/// The SVG text of the curves.
fn draw(curves: &[Curve]) -> Result<String, Box<dyn std::error::Error>> {
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
            .y_desc("evaluation return (mean, band: one standard deviation over episodes)")
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
    fn a_file_that_is_not_a_table_of_evaluations_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (text, complaint) in [
            ("a,b\n1,2\n", "no column `step`"),
            (
                "step,mean_return,std_return\n1,x,0\n",
                "line 2: `x` is no number",
            ),
            ("step,mean_return,std_return\n", "no evaluation yet"),
        ] {
            let run = write_run(folder.path(), text);
            let error = Curve::read(&run).expect_err("damaged").to_string();
            assert!(
                error.contains("eval.csv") && error.contains(complaint),
                "{error}"
            );
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
