//! Runs that differ in their seed alone, taken together.

use std::path::{Path, PathBuf};

use super::Curve;
use crate::RunError;
use crate::durable::read_text;
use crate::run_folder::{CONFIG_FILE, CONFIG_LIMIT};

/// What two runs may differ in, beside the seed, and still be the same experiment: where they were
/// computed and how far they were meant to go.
const NOT_COMPARED: [&str; 4] = ["seed", "steps", "backend", "device"];

/// Runs of one experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Algorithm and task, and where they name several groups the folder of the first run.
    name: String,
    /// The configuration without what is not compared.
    settings: toml::Table,
    /// Seed and learning curve of each run; there is at least one.
    runs: Vec<(i64, Curve)>,
}

impl Group {
    /// The groups of `runs`, in the order of their first runs.
    ///
    /// # Errors
    /// When a run cannot be read or two of a group have the same seed.
    pub fn of(runs: &[PathBuf]) -> Result<Vec<Self>, RunError> {
        let mut groups: Vec<Self> = Vec::new();
        for run in runs {
            let (settings, seed) = settings(run)?;
            let curve = Curve::read(run)?;
            let Some(group) = groups.iter_mut().find(|group| group.settings == settings) else {
                groups.push(Self {
                    name: title(&settings),
                    settings,
                    runs: vec![(seed, curve)],
                });
                continue;
            };
            if let Some((_, other)) = group.runs.iter().find(|(other, _)| *other == seed) {
                return Err(RunError::usage(
                    format!(
                        "the runs {} and {} have the same seed, {seed}",
                        other.name, curve.name
                    ),
                    "give each run once; runs of one experiment differ in their seeds",
                ));
            }
            group.runs.push((seed, curve));
        }
        let names: Vec<_> = groups.iter().map(|group| group.name.clone()).collect();
        for group in &mut groups {
            if names.iter().filter(|name| **name == group.name).count() > 1 {
                group.name = format!("{} ({})", group.name, group.runs[0].1.name);
            }
        }
        Ok(groups)
    }

    /// Mean and standard deviation over the runs, at the steps at which all were evaluated.
    ///
    /// # Errors
    /// When there is no such step.
    pub fn curve(&self) -> Result<Curve, RunError> {
        let mut points = Vec::new();
        for (step, ..) in &self.runs[0].1.points {
            let returns: Option<Vec<_>> = self.runs.iter().map(|(_, run)| at(run, *step)).collect();
            if let Some(returns) = returns {
                let (mean, std) = mean_and_std(&returns);
                points.push((*step, mean, std));
            }
        }
        if points.is_empty() {
            return Err(RunError::usage(
                format!("the runs of {} were evaluated at no common step", self.name),
                "runs of one experiment need the same training.eval_every",
            ));
        }
        Ok(Curve {
            name: format!("{}, {}", self.name, self.seeds()),
            points,
        })
    }

    /// One line: the best evaluation of each run and the last, as mean and standard deviation over
    /// the runs where there are several.
    pub fn summary(&self) -> String {
        let of_runs = |value: fn(&Curve) -> f64| {
            let values: Vec<_> = self.runs.iter().map(|(_, run)| value(run)).collect();
            let (mean, std) = mean_and_std(&values);
            match values[..] {
                [value] => format!("{value:.2}"),
                _ => format!("{mean:.2} ± {std:.2}"),
            }
        };
        let best = of_runs(|run| {
            let returns = run.points.iter().map(|(_, mean, _)| *mean);
            returns.fold(f64::NEG_INFINITY, f64::max)
        });
        let last = of_runs(|run| run.points.last().map_or(f64::NAN, |(_, mean, _)| *mean));
        let (name, seeds) = (&self.name, self.seeds());
        format!("{name}, {seeds}: best {best}, last {last}")
    }

    fn seeds(&self) -> String {
        match self.runs.len() {
            1 => "1 seed".into(),
            count => format!("{count} seeds"),
        }
    }
}

/// The configuration of `run` without what is not compared, and its seed.
fn settings(run: &Path) -> Result<(toml::Table, i64), RunError> {
    let path = run.join(CONFIG_FILE);
    let text = read_text(&path, CONFIG_LIMIT)?;
    let corrupt = |message: String| RunError::Corrupt {
        path: path.clone(),
        message,
    };
    let mut settings: toml::Table = text.parse().map_err(|e| corrupt(format!("{e}")))?;
    let seed = settings.get("seed").and_then(toml::Value::as_integer);
    let seed = seed.ok_or_else(|| corrupt("it has no whole number `seed`".into()))?;
    for key in NOT_COMPARED {
        settings.remove(key);
    }
    Ok((settings, seed))
}

/// Algorithm and task.
fn title(settings: &toml::Table) -> String {
    let text = |key: &str| settings.get(key).and_then(toml::Value::as_str);
    format!(
        "{} on {}",
        text("algo").unwrap_or("?"),
        text("env").unwrap_or("?")
    )
}

/// The mean return of the evaluation at `step`.
fn at(run: &Curve, step: f64) -> Option<f64> {
    // Steps are whole numbers, exact in f64.
    let point = run
        .points
        .iter()
        .find(|point| point.0.total_cmp(&step).is_eq());
    point.map(|(_, mean, _)| *mean)
}

/// Mean, and standard deviation of a sample (divided by n - 1); 0 for a single value.
fn mean_and_std(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run with evaluations at these steps.
    fn run(folder: &Path, name: &str, config: &str, returns: &[(u32, f64)]) -> PathBuf {
        let run = folder.join(name);
        std::fs::create_dir_all(&run).expect("writable");
        std::fs::write(run.join(CONFIG_FILE), config).expect("writable");
        let rows = returns
            .iter()
            .map(|(step, mean)| format!("{step},{mean},0\n"));
        let text = format!("step,mean_return,std_return\n{}", rows.collect::<String>());
        std::fs::write(run.join("eval.csv"), text).expect("writable");
        run
    }

    fn config(seed: u32, steps: u32, particles: u32) -> String {
        format!(
            "algo = \"dpmd\"\nenv = \"Pendulum-v1\"\nseed = {seed}\nsteps = {steps}\nbackend = \
             \"flex\"\n[agent]\nparticles = {particles}\n"
        )
    }

    #[test]
    fn runs_that_differ_in_their_seed_are_one_curve() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let runs = [
            run(
                folder,
                "a",
                &config(0, 30, 4),
                &[(10, 1.0), (20, 4.0), (30, 3.0)],
            ),
            run(folder, "b", &config(0, 30, 8), &[(10, 7.0)]),
            run(folder, "c", &config(1, 20, 4), &[(10, 3.0), (20, 8.0)]),
        ];
        let groups = Group::of(&runs).expect("readable");
        assert_eq!(groups.len(), 2);
        let curve = groups[0].curve().expect("common steps");
        assert_eq!(curve.name, "dpmd on Pendulum-v1 (a), 2 seeds");
        let half = 2.0_f64.sqrt();
        assert_eq!(curve.points, [(10.0, 2.0, half), (20.0, 6.0, 2.0 * half)]);
        assert_eq!(
            groups[0].summary(),
            "dpmd on Pendulum-v1 (a), 2 seeds: best 6.00 ± 2.83, last 5.50 ± 3.54"
        );
        assert!(
            groups[1]
                .summary()
                .ends_with("1 seed: best 7.00, last 7.00")
        );
        let curve = groups[1].curve().expect("its own steps");
        assert_eq!(curve.name, "dpmd on Pendulum-v1 (b), 1 seed");
        assert_eq!(curve.points, [(10.0, 7.0, 0.0)]);
    }

    #[test]
    fn what_cannot_be_taken_together_is_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let first = run(folder, "a", &config(0, 30, 4), &[(10, 1.0)]);
        let error = |runs: &[PathBuf]| {
            let groups = Group::of(runs);
            let curves = groups.and_then(|groups| groups[0].curve());
            curves.expect_err("not to be taken together").to_string()
        };
        let twice = error(&[first.clone(), first.clone()]);
        assert!(
            twice.contains("the runs a and a have the same seed, 0"),
            "{twice}"
        );
        let other = run(folder, "b", &config(1, 30, 4), &[(15, 1.0)]);
        let apart = error(&[first.clone(), other]);
        assert!(apart.contains("no common step"), "{apart}");
        for (text, complaint) in [
            ("seed = 'x'", "no whole number `seed`"),
            ("=", "config.toml"),
        ] {
            let broken = run(folder, "c", text, &[(10, 1.0)]);
            let damaged = error(&[broken]);
            assert!(damaged.contains(complaint), "{damaged}");
        }
        let nothing = error(&[folder.join("nothing")]);
        assert!(nothing.contains("config.toml"), "{nothing}");
    }
}
