//! Curves as pictures.

use std::error::Error;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;

use crate::curve::{Curve, Point};

/// Width and height in points.
const SIZE: (u32, u32) = (880, 520);
/// Pixels of a PNG file per point.
const PIXELS: u32 = 2;
const FONT: &str = "sans-serif";
/// Of what is no curve.
const GREY: RGBColor = RGBColor(110, 110, 110);
const WARMUP_ENDS: &str = "warm-up ends";

/// Colours that the colour-blind can tell apart (Okabe and Ito, 2008), without yellow; and three darker
/// ones for figures with more curves.
const PALETTE: [RGBColor; 10] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(136, 34, 85),
    RGBColor(140, 109, 49),
    RGBColor(127, 127, 127),
];

/// The curves as an SVG file; their bands are over `what`.
///
/// # Errors
/// What the drawing library says.
pub fn svg(curves: &[Curve], what: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    draw(&root, curves, what, 1)?;
    drop(root);
    Ok(svg.into_bytes())
}

/// The curves as a PNG file; their bands are over `what`.
///
/// # Errors
/// What the drawing library says.
pub fn png(curves: &[Curve], what: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let (width, height) = (PIXELS * SIZE.0, PIXELS * SIZE.1);
    let mut pixels = vec![0; 3 * (width * height) as usize];
    let root = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
    draw(&root, curves, what, PIXELS)?;
    drop(root);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(file)
}

/// Makes the font known that text is measured with, and drawn with where there are only pixels:
/// the program brings its own, because a machine without a display often has none.
fn provide_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let known = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
        debug_assert!(known.is_ok(), "the font is one");
    });
}

/// Draws everything, `scale` pixels to a point.
fn draw<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    curves: &[Curve],
    what: &str,
    scale: u32,
) -> Result<(), Box<dyn Error>>
where
    DB::ErrorType: 'static,
{
    provide_font();
    let font = || (FONT, 14 * scale).into_font();
    root.fill(&WHITE)?;
    let (x, y) = ranges(curves);
    let mut chart = ChartBuilder::on(root)
        .margin(16 * scale)
        .x_label_area_size(44 * scale)
        .y_label_area_size(68 * scale)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225).stroke_width(scale))
        .axis_style(BLACK.stroke_width(scale))
        .set_all_tick_mark_size(5 * scale)
        .x_desc("environment steps")
        .y_desc(format!(
            "evaluation return (mean, band: one standard deviation over {what})"
        ))
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| short(*y))
        .label_style(font())
        .draw()?;
    // Below the curves.
    let last = chart.x_range().end;
    let ends = warmup_ends(curves).into_iter().filter(|end| *end < last);
    for (row, end) in ends.enumerate() {
        let foot = chart.y_range().start;
        let line = [(end, foot), (end, chart.y_range().end)];
        let (dash, gap) = (5 * scale, 4 * scale);
        chart.draw_series(DashedLineSeries::new(
            line,
            dash,
            gap,
            GREY.stroke_width(scale),
        ))?;
        let font = (FONT, 11 * scale).into_font().color(&GREY);
        // One above the other, where there are several.
        let above = 16 * scale as i32 * (row as i32 + 1);
        let label = Text::new(WARMUP_ENDS, (4 * scale as i32, -above), font);
        chart.draw_series([EmptyElement::at((end, foot)) + label])?;
    }
    for (curve, color) in curves.iter().zip(PALETTE.iter().cycle()) {
        for (points, complete) in parts(curve) {
            let upper = points
                .iter()
                .map(|point| (point.step, point.mean + point.std));
            let lower = points
                .iter()
                .map(|point| (point.step, point.mean - point.std));
            let band: Vec<_> = upper.chain(lower.rev()).collect();
            let shade = color.mix(if complete { 0.15 } else { 0.06 });
            chart.draw_series([Polygon::new(band, shade)])?;
            let line: Vec<_> = points
                .iter()
                .map(|point| (point.step, point.mean))
                .collect();
            let style = color.stroke_width(2 * scale);
            if complete {
                chart.draw_series(LineSeries::new(line, style))?;
            } else {
                let (dash, gap) = (6 * scale, 4 * scale);
                chart.draw_series(DashedLineSeries::new(line, dash, gap, style))?;
            }
        }
        // Rings where runs are missing.
        let dots = curve.points.iter().map(|point| {
            let style = if point.runs == curve.runs {
                color.filled()
            } else {
                color.stroke_width(scale)
            };
            Circle::new((point.step, point.mean), 3 * scale, style)
        });
        chart
            .draw_series(dots)?
            .label(&curve.name)
            .legend(move |(x, y)| {
                let end = x + 18 * scale as i32;
                PathElement::new([(x, y), (end, y)], color.stroke_width(2 * scale))
            });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .margin(10 * scale)
        .legend_area_size(30 * scale)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200).stroke_width(scale))
        .label_font(font())
        .draw()?;
    root.present()?;
    Ok(())
}

/// The steps at which warm-ups ended that are counted, each once, ascending.
fn warmup_ends(curves: &[Curve]) -> Vec<f64> {
    let mut ends: Vec<_> = curves.iter().filter_map(|curve| curve.warmup_end).collect();
    ends.sort_unstable_by(f64::total_cmp);
    ends.dedup();
    ends
}

/// The curve in parts that share their ends, and whether all runs are in each. A part is complete
/// when both points of each of its segments are.
fn parts(curve: &Curve) -> Vec<(Vec<Point>, bool)> {
    let complete = |point: &Point| point.runs == curve.runs;
    if let [point] = curve.points[..] {
        return vec![(vec![point], complete(&point))];
    }
    let mut parts: Vec<(Vec<Point>, bool)> = Vec::new();
    for pair in curve.points.windows(2) {
        let all = complete(&pair[0]) && complete(&pair[1]);
        match parts.last_mut() {
            Some((points, same)) if *same == all => points.push(pair[1]),
            _ => parts.push((pair.to_vec(), all)),
        }
    }
    parts
}

/// Axes from 0 to the last step, and around all bands with a margin.
fn ranges(curves: &[Curve]) -> (std::ops::Range<f64>, std::ops::Range<f64>) {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last = points().map(|p| p.step).fold(1.0, f64::max);
    let low = points()
        .map(|p| p.mean - p.std)
        .fold(f64::INFINITY, f64::min);
    let high = points()
        .map(|p| p.mean + p.std)
        .fold(f64::NEG_INFINITY, f64::max);
    let margin = (0.06 * (high - low)).max(1e-6 * high.abs().max(1.0));
    // The names of the curves stand above them: a line for each.
    let names = (high - low) * (0.05 + 0.07 * curves.len() as f64);
    (0.0..last, low - margin..high + margin + names)
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

    fn curve(name: &str, points: &[(f64, f64, usize)]) -> Curve {
        let point = |&(step, mean, runs): &(f64, f64, usize)| Point {
            step,
            mean,
            std: 1.0,
            runs,
        };
        Curve {
            name: name.into(),
            points: points.iter().map(point).collect(),
            warmup_end: None,
            runs: 2,
        }
    }

    /// Width, height and pixels of a PNG file.
    fn decode(file: &[u8]) -> (usize, usize, Vec<[u8; 3]>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(file))
            .read_info()
            .expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("it fits")];
        let info = reader.next_frame(&mut pixels).expect("a picture");
        let pixels = pixels.as_chunks().0.to_vec();
        (info.width as usize, info.height as usize, pixels)
    }

    #[test]
    fn axis_numbers_are_short() {
        assert_eq!(
            [0.0, 950.0, 50_000.0, 1_250_000.0].map(short),
            ["0", "950", "50k", "1.25M"]
        );
    }

    #[test]
    fn a_curve_is_parted_where_runs_are_missing() {
        let whole = curve(
            "a",
            &[(1.0, 0.0, 2), (2.0, 0.0, 2), (3.0, 0.0, 1), (4.0, 0.0, 1)],
        );
        let found: Vec<_> = parts(&whole)
            .into_iter()
            .map(|(points, all)| (points.iter().map(|p| p.step).collect::<Vec<_>>(), all))
            .collect();
        assert_eq!(
            found,
            [(vec![1.0, 2.0], true), (vec![2.0, 3.0, 4.0], false)]
        );
        assert_eq!(parts(&curve("b", &[(1.0, 0.0, 1)])).len(), 1);
    }

    #[test]
    fn the_end_of_a_counted_warm_up_is_marked_once() {
        let marked = |ends: &[Option<f64>]| {
            let with = |end: &Option<f64>| Curve {
                warmup_end: *end,
                ..curve("a", &[(10.0, -5.0, 2), (20.0, 7.0, 2)])
            };
            let curves: Vec<_> = ends.iter().map(with).collect();
            let svg = String::from_utf8(svg(&curves, "seeds").expect("drawn")).expect("text");
            let grey = "stroke=\"#6E6E6E\"";
            (svg.matches(WARMUP_ENDS).count(), svg.matches(grey).count())
        };
        assert_eq!(marked(&[None, None]), (0, 0));
        let (labels, dashes) = marked(&[Some(5.0), None, Some(5.0)]);
        assert_eq!(labels, 1, "shared by two");
        assert!(dashes > 10, "{dashes}");
        assert_eq!(marked(&[Some(5.0), Some(8.0)]).0, 2);
        // Beyond the last evaluation there is nothing to mark.
        assert_eq!(marked(&[Some(5000.0)]).0, 0);
        let plain = curve("a", &[(10.0, -5.0, 2), (20.0, 7.0, 2)]);
        let counted = Curve {
            warmup_end: Some(5.0),
            ..plain.clone()
        };
        let grey = |curve| {
            let (_, _, pixels) = decode(&png(&[curve], "seeds").expect("drawn"));
            pixels.iter().filter(|pixel| **pixel == [110; 3]).count()
        };
        let (without, with) = (grey(plain), grey(counted));
        assert!(
            with > without + 200,
            "{with} grey pixels, {without} without"
        );
    }

    #[test]
    fn both_formats_show_curves_and_text() {
        let curves = [
            curve("first", &[(10.0, -5.0, 2), (20.0, 7.0, 2), (30.0, 8.0, 1)]),
            curve("second", &[(10.0, 3.0, 2)]),
        ];
        let text = String::from_utf8(svg(&curves, "seeds").expect("drawn")).expect("text");
        for part in [
            "first",
            "second",
            "environment steps",
            "<polygon",
            "<polyline",
            "over seeds",
        ] {
            assert!(text.contains(part), "no {part} in the drawing");
        }
        let (width, height, pixels) = decode(&png(&curves, "seeds").expect("drawn"));
        assert_eq!((width, height), (1760, 1040));
        assert!(pixels.contains(&[0, 114, 178]), "the first curve's colour");
        assert!(pixels.contains(&[213, 94, 0]), "the second curve's colour");
        // The description of the x axis is the only thing at the lower edge.
        let below = &pixels[width * (height - 70)..width * (height - 34)];
        let dark = below.iter().filter(|pixel| pixel[0] < 128).count();
        assert!((200..5000).contains(&dark), "{dark} dark pixels of text");
    }
}
