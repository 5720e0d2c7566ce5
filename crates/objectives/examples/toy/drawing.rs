//! The figure: samples as scatter plots, and the share of samples at each mode.

use std::error::Error;

use plotters::{coord::Shift, prelude::*};

use crate::mixture::{MODES, Mode, Point, masses};
use crate::samplers::inner;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// Points of a scatter plot; more would only make the file large.
const SHOWN: usize = 500;

/// Side of the square that a scatter plot fills, and what surrounds it, in pixels.
const SIDE: u32 = 310;
const LEFT: u32 = 44;
const RIGHT: u32 = 16;
const ABOVE: u32 = 56;
const BELOW: u32 = 30;
const HEADER: u32 = 44;

/// Height of the bars, in pixels.
const BARS: u32 = 220;

const GRAY: RGBColor = RGBColor(120, 120, 120);
const INK: RGBColor = RGBColor(30, 30, 30);

/// One colour a panel, from the palette of Okabe and Ito (2008), which the colour-blind can tell
/// apart.
const COLORS: [RGBColor; 6] = [
    RGBColor(60, 60, 60),
    RGBColor(150, 150, 150),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(204, 121, 167),
    RGBColor(0, 158, 115),
];

/// Samples and how far they are from the target.
#[derive(Debug)]
pub struct Panel {
    /// What they are samples of.
    pub title: String,
    /// The samples.
    pub points: Vec<Point>,
    /// Energy distance from exact samples.
    pub distance: f64,
}

/// The text of an SVG file with a scatter plot of each of `panels`, the shares of their modes, and a
/// scatter plot of each of the samplers.
pub fn draw(panels: &[Panel; 6], samplers: &[Panel]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let width = 3 * (LEFT + SIDE + RIGHT);
        let height = 2 * (ABOVE + SIDE + BELOW);
        let shares_height = ABOVE + BARS + BELOW;
        let whole = (width, 2 * (HEADER + height) + shares_height);
        let root = SVGBackend::with_string(&mut svg, whole).into_drawing_area();
        root.fill(&WHITE)?;
        let (header, body) = root.split_vertically(HEADER);
        let (scatters, body) = body.split_vertically(height);
        let (bars, body) = body.split_vertically(shares_height);
        let (second_header, sampled) = body.split_vertically(HEADER);
        text(
            &header,
            "Denoising score matching on uniform samples: a target of which only the energy is known",
            (LEFT, 18),
            20,
            INK,
        )?;
        let areas = scatters.split_evenly((2, 3));
        for ((panel, color), area) in panels.iter().zip(COLORS).zip(&areas) {
            scatter(area, panel, &MODES, color)?;
        }
        shares(&bars, panels)?;
        text(
            &second_header,
            "Samplers: twenty steps of the exact denoiser of the four modes inside the box",
            (LEFT, 18),
            20,
            INK,
        )?;
        let areas = sampled.split_evenly((2, 3));
        for ((panel, color), area) in samplers.iter().zip(COLORS).zip(&areas) {
            scatter(area, panel, inner(), color)?;
        }
        root.present()?;
    }
    Ok(svg)
}

fn text(area: &Area<'_>, text: &str, (x, y): (u32, u32), size: u32, color: RGBColor) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&color);
    area.draw_text(text, &style, (x.cast_signed(), y.cast_signed()))?;
    Ok(())
}

fn scatter(area: &Area<'_>, panel: &Panel, modes: &[Mode], color: RGBColor) -> Drawn {
    text(area, &panel.title, (LEFT, 12), 16, INK)?;
    // an estimate without bias may be below 0; print no "-0.0000"
    let distance = format!(
        "energy distance from the target {:.4}",
        panel.distance.max(0.0)
    );
    text(area, &distance, (LEFT, 33), 13, GRAY)?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(ABOVE)
        .margin_right(RIGHT)
        .x_label_area_size(BELOW)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(-1.1..1.1, -1.1..1.1)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(5)
        .y_labels(5)
        .axis_style(GRAY)
        .label_style(("sans-serif", 12).into_font().color(&GRAY))
        .draw()?;
    let walls = [(-1.0, -1.0), (1.0, 1.0)];
    chart.draw_series([Rectangle::new(walls, GRAY.stroke_width(1))])?;
    let dots = panel.points.iter().take(SHOWN).map(|[x, y]| {
        let place = (f64::from(*x), f64::from(*y));
        Circle::new(place, 2, color.mix(0.45).filled())
    });
    chart.draw_series(dots)?;
    // Two standard deviations around every mode of the target, as far as they are in the box.
    chart.draw_series(modes.iter().map(|mode| {
        let ring = (0..=60).map(|i| {
            let (sin, cos) = (f64::from(i) / 60.0 * std::f64::consts::TAU).sin_cos();
            let [x, y] = mode.mean;
            let coordinate = |x: f64, unit: f64| (x + 2.0 * mode.std * unit).clamp(-1.0, 1.0);
            (coordinate(x, cos), coordinate(y, sin))
        });
        PathElement::new(ring.collect::<Vec<_>>(), INK.stroke_width(1))
    }))?;
    Ok(())
}

/// Bars: the share of the samples at each mode, beside the target's.
fn shares(area: &Area<'_>, panels: &[Panel; 6]) -> Drawn {
    text(
        area,
        "Share of the samples nearest to each mode",
        (LEFT, 12),
        16,
        INK,
    )?;
    let target = MODES.map(|mode| mode.mass);
    let bars = [
        ("target", target, COLORS[0]),
        ("unweighted", masses(&panels[2].points), COLORS[2]),
        ("DPMD", masses(&panels[3].points), COLORS[3]),
        ("SDAC, clipped", masses(&panels[4].points), COLORS[4]),
        ("SDAC, truncated", masses(&panels[5].points), COLORS[5]),
    ];
    let places = [0, 70, 168, 228, 342].map(|x| x + LEFT);
    for (x, (name, _, color)) in places.into_iter().zip(&bars) {
        let corner = (x.cast_signed(), 35);
        let square = [corner, (corner.0 + 10, corner.1 + 10)];
        area.draw(&Rectangle::new(square, color.filled()))?;
        text(area, name, (x + 14, 33), 13, GRAY)?;
    }
    let mut chart = ChartBuilder::on(area)
        .margin_top(ABOVE)
        .margin_right(RIGHT)
        .x_label_area_size(BELOW)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(0.0..MODES.len() as f64, 0.0..0.8)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_labels(0)
        .y_labels(5)
        .axis_style(GRAY)
        .label_style(("sans-serif", 12).into_font().color(&GRAY))
        .draw()?;
    for (i, (_, shares, color)) in bars.iter().enumerate() {
        chart.draw_series(shares.iter().enumerate().map(|(mode, share)| {
            let left = mode as f64 + 0.14 + 0.145 * i as f64;
            Rectangle::new([(left, 0.0), (left + 0.135, *share)], color.filled())
        }))?;
    }
    let names = [
        "lower left",
        "lower right",
        "upper left",
        "upper right",
        "left wall",
        "upper right corner",
    ];
    let group = (area.dim_in_pixel().0 - LEFT - RIGHT) / MODES.len() as u32;
    for (i, name) in (0_u32..).zip(names) {
        // the part that centres the name; a character is about 6 pixels wide
        let margin = (group - 6 * name.len() as u32) / 2;
        text(
            area,
            name,
            (LEFT + group * i + margin, ABOVE + BARS + 8),
            12,
            GRAY,
        )?;
    }
    Ok(())
}
