//! Draws what the project stands on: a diffusion model recovers a distribution of which only the
//! energy is known, from samples of another distribution, once their denoising losses are
//! weighted.
//!
//! `cargo run --release -p rescore-objectives --example toy [FILE.svg]` trains four models (about a
//! minute) and writes the figure to FILE.svg, by default `toy.svg`.

mod drawing;
mod mixture;
mod samplers;
mod training;

use std::{error::Error, path::PathBuf, process::ExitCode};

use drawing::Panel;
use mixture::{MODES, Mode, Point, energy_distance, exact_samples, mass_error};
use rescore_kernels::{Noise, NoiseKey};
use training::{Kernel, Objective, REVERSE_SAMPLES, UPDATES, proposal, samples, train};

/// Samples of each side of a comparison.
const COUNT: usize = 3000;

const SEED: u64 = 0;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let path = PathBuf::from(arguments.next().unwrap_or_else(|| "toy.svg".into()));
    let is_svg = path.extension().is_some_and(|ending| ending == "svg");
    if arguments.next().is_some() || path.to_string_lossy().starts_with('-') || !is_svg {
        eprintln!("usage: toy [FILE.svg]\nwrites the figure to FILE.svg, by default toy.svg");
        return ExitCode::from(2);
    }
    // A file that cannot be written is better found out before the training; an older figure stays
    // until there is a new one.
    let result = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(Into::into)
        .and_then(|_| figure())
        .and_then(|svg| Ok(std::fs::write(&path, svg)?));
    match result {
        Ok(()) => {
            println!("{}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("toy: cannot write {}: {error}", path.display());
            ExitCode::from(74)
        }
    }
}

/// Trains, measures, prints the measurements and draws them.
fn figure() -> Result<String, Box<dyn Error>> {
    let key = |name: &str| NoiseKey::new(SEED, name);
    let measured = |modes: &[Mode], exact: &[Point], title: String, points: Vec<Point>| {
        let distance = energy_distance(&points, exact);
        println!(
            "{title}: energy distance {distance:.4}, largest error of a mode's share {:.3}",
            mass_error(modes, &points)
        );
        Panel {
            title,
            points,
            distance,
        }
    };
    let exact = exact_samples(&MODES, COUNT, key("exact"));
    let panel = |title, points| measured(&MODES, &exact, title, points);
    let learned = |title: String, objective| {
        let policy = train(objective, UPDATES, SEED);
        panel(title, samples(&policy, COUNT, key("samples")))
    };
    let uniform = Noise {
        key: key("uniform"),
        counter: 0,
    };
    let panels = [
        panel(
            "Target, exact samples".into(),
            exact_samples(&MODES, COUNT, key("other")),
        ),
        panel("What training sees".into(), proposal(COUNT, uniform)),
        learned("Unweighted".into(), Objective::Unweighted),
        learned("DPMD's weights".into(), Objective::MirrorDescent),
        learned(
            "SDAC's weights, clipped kernel".into(),
            Objective::MaxEntropy(Kernel::Clipped, REVERSE_SAMPLES),
        ),
        learned(
            "SDAC's weights, truncated kernel".into(),
            Objective::MaxEntropy(Kernel::Truncated, REVERSE_SAMPLES),
        ),
    ];
    let exact = exact_samples(samplers::inner(), COUNT, key("exact"));
    let sampled = samplers::all(COUNT, key("samplers")).into_iter();
    let sampled: Vec<_> = sampled
        .map(|(title, points)| measured(samplers::inner(), &exact, title.into(), points))
        .collect();
    drawing::draw(&panels, &sampled)
}
