//! Runs that differ in their seed alone, taken together.

use std::path::{Path, PathBuf};

use rescore_store::durable::read_text;
use rescore_store::{StoreError, names::CONFIG, run_folder::CONFIG_LIMIT};

use crate::ReportError;
use crate::curve::{Curve, Point};
use crate::run::keep_compared;

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
    /// The groups of `runs`, in the order of their first runs. Runs without an evaluation are left
    /// out with a warning.
    ///
    /// # Errors
    /// When a run cannot be read or two of a group have the same seed.
    pub fn of(runs: &[PathBuf]) -> Result<Vec<Self>, ReportError> {
        let mut groups: Vec<Self> = Vec::new();
        for run in runs {
            let (settings, seed) = settings(run)?;
            let Some(curve) = Curve::read(run)? else {
                continue;
            };
            let Some(group) = groups.iter_mut().find(|group| group.settings == settings) else {
                groups.push(Self {
                    name: title(&settings),
                    settings,
                    runs: vec![(seed, curve)],
                });
                continue;
            };
            if let Some((_, other)) = group.runs.iter().find(|(other, _)| *other == seed) {
                return Err(ReportError::unfit(
                    format!(
                        "the runs {} and {} have the same seed, {seed}",
                        other.name, curve.name
                    ),
                    "give each run once; runs of one experiment differ in their seeds",
                ));
            }
            group.runs.push((seed, curve));
        }
        distinguish(&mut groups, |group| preset(&group.settings).to_owned());
        distinguish(&mut groups, |group| group.runs[0].1.name.clone());
        Ok(groups)
    }

    /// Mean and standard deviation over the runs, at every step at which any was evaluated; each
    /// point says of how many. Between two of its evaluations (runs of another length have their
    /// last one elsewhere) a run counts with the value on the line between them.
    pub fn curve(&self) -> Curve {
        let point = |step: f64| {
            let runs = self.runs.iter();
            let returns: Vec<_> = runs.filter_map(|(_, run)| run.on_line(step)).collect();
            let (mean, std) = mean_and_std(&returns);
            Point {
                step,
                mean,
                std,
                runs: returns.len(),
            }
        };
        Curve {
            name: format!("{}, {}", self.name, self.seeds()),
            points: self.steps().into_iter().map(point).collect(),
            // Runs of a group have the same settings.
            warmup_end: self.runs[0].1.warmup_end,
            runs: self.runs.len(),
        }
    }

    /// One line: the best evaluation of each run and the last, as mean and standard deviation over
    /// the runs if there are several. Both are of the steps at which all runs were evaluated.
    ///
    /// # Errors
    /// When there is no such step.
    pub fn summary(&self) -> Result<String, ReportError> {
        let all = self.steps();
        let common: Vec<_> = all
            .iter()
            .copied()
            .filter(|step| self.is_common(*step))
            .collect();
        let Some(last) = common.last() else {
            return Err(ReportError::unfit(
                format!("the runs of {} were evaluated at no common step", self.name),
                "runs of one experiment need the same config.evaluation.every, and to have come as far \
                 as their first evaluation",
            ));
        };
        let of_runs = |value: &dyn Fn(&Curve) -> f64| {
            let values: Vec<_> = self.runs.iter().map(|(_, run)| value(run)).collect();
            let (mean, std) = mean_and_std(&values);
            match values[..] {
                [value] => format!("{value:.2}"),
                _ => format!("{mean:.2} ± {std:.2}"),
            }
        };
        let best = of_runs(&|run| {
            let returns = common.iter().filter_map(|step| at(run, *step));
            returns.fold(f64::NEG_INFINITY, f64::max)
        });
        let last_return = of_runs(&|run| at(run, *last).unwrap_or(f64::NAN));
        let (name, seeds) = (&self.name, self.seeds());
        let mut line = format!("{name}, {seeds}: best {best}, last {last_return}");
        if common.len() < all.len() {
            use std::fmt::Write as _;
            let (common, all) = (common.len(), all.len());
            // Writing to a String cannot fail.
            let _ = write!(
                line,
                " (of the {common} of {all} steps that all seeds have, the last {last})"
            );
        }
        Ok(line)
    }

    /// A line for each run that has no part in some steps of the curve.
    pub fn missing(&self) -> Vec<String> {
        let steps = self.steps();
        let line = |(seed, run): &(i64, Curve)| {
            let missing = steps.iter().filter(|step| run.on_line(**step).is_none());
            let missing: Vec<_> = missing.collect();
            let (first, last) = (missing.first()?, missing.last()?);
            let steps = match missing.len() {
                1 => format!("step {first}"),
                count => format!("{count} steps from {first} to {last}"),
            };
            Some(format!(
                "{}: seed {seed} ({}) has no evaluation at {steps}; the curve is dashed there",
                self.name, run.name
            ))
        };
        self.runs.iter().filter_map(line).collect()
    }

    /// Every step at which any run was evaluated, ascending.
    fn steps(&self) -> Vec<f64> {
        let points = self.runs.iter().flat_map(|(_, run)| &run.points);
        let mut steps: Vec<_> = points.map(|point| point.step).collect();
        steps.sort_unstable_by(f64::total_cmp);
        steps.dedup();
        steps
    }

    fn is_common(&self, step: f64) -> bool {
        self.runs.iter().all(|(_, run)| at(run, step).is_some())
    }

    fn seeds(&self) -> String {
        match self.runs.len() {
            1 => "1 seed".into(),
            count => format!("{count} seeds"),
        }
    }
}

/// Adds to names that several groups have `what` each of these groups has, if that tells some apart.
fn distinguish(groups: &mut [Group], what: impl Fn(&Group) -> String) {
    let names: Vec<_> = groups.iter().map(|group| group.name.clone()).collect();
    let added: Vec<_> = groups.iter().map(what).collect();
    for (index, group) in groups.iter_mut().enumerate() {
        let same = || (0..names.len()).filter(|other| names[*other] == names[index]);
        if same().any(|other| added[other] != added[index]) {
            group.name = format!("{} ({})", names[index], added[index]);
        }
    }
}

fn preset(settings: &toml::Table) -> &str {
    let agent = settings.get("agent");
    let preset = agent.and_then(|agent| agent.get("preset"));
    preset.and_then(toml::Value::as_str).unwrap_or("?")
}

/// The configuration of `run` without what is not compared, and its seed.
fn settings(run: &Path) -> Result<(toml::Table, i64), ReportError> {
    let path = run.join(CONFIG);
    let text = read_text(&path, CONFIG_LIMIT)?;
    let corrupt = |message: String| StoreError::corrupt(&path, message);
    let mut settings: toml::Table = text.parse().map_err(|e| corrupt(format!("{e}")))?;
    let seed = settings.get("seed").and_then(toml::Value::as_integer);
    let seed = seed.ok_or_else(|| corrupt("it has no whole number `seed`".into()))?;
    keep_compared(&mut settings);
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
    let found = run
        .points
        .binary_search_by(|point| point.step.total_cmp(&step));
    found.ok().map(|index| run.points[index].mean)
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
        std::fs::write(run.join(CONFIG), config).expect("writable");
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
            run(folder, "d", &config(2, 20, 4), &[]),
        ];
        let groups = Group::of(&runs).expect("readable");
        assert_eq!(groups.len(), 2);
        let point = |step, mean, std, runs| Point {
            step,
            mean,
            std,
            runs,
        };
        let curve = groups[0].curve();
        assert_eq!(curve.name, "dpmd on Pendulum-v1 (a), 2 seeds");
        assert_eq!(curve.runs, 2);
        let half = 2.0_f64.sqrt();
        // Seed 0 alone has come to step 30.
        assert_eq!(
            curve.points,
            [
                point(10.0, 2.0, half, 2),
                point(20.0, 6.0, 2.0 * half, 2),
                point(30.0, 3.0, 0.0, 1)
            ]
        );
        // Means of 4 and 8, at the step that both have; the 3 at step 30 does not count.
        assert_eq!(
            groups[0].summary().expect("common steps"),
            "dpmd on Pendulum-v1 (a), 2 seeds: best 6.00 ± 2.83, last 6.00 ± 2.83 (of the 2 of 3 \
             steps that all seeds have, the last 20)"
        );
        assert_eq!(
            groups[0].missing(),
            [
                "dpmd on Pendulum-v1 (a): seed 1 (c) has no evaluation at step 30; the curve is \
              dashed there"
            ]
        );
        let single = groups[1].summary().expect("its own steps");
        assert!(single.ends_with("1 seed: best 7.00, last 7.00"), "{single}");
        assert!(groups[1].missing().is_empty());
        let curve = groups[1].curve();
        assert_eq!(curve.name, "dpmd on Pendulum-v1 (b), 1 seed");
        assert_eq!(curve.points, [point(10.0, 7.0, 0.0, 1)]);
    }

    #[test]
    fn the_end_of_warm_up_is_that_of_the_runs() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let counting = |name: &str, seed: u32, count: bool| {
            let training = "[training]\nnum_envs = 4\nwarmup_steps = 5\n";
            let text = format!("{}{training}count_warmup = {count}\n", config(seed, 30, 4));
            run(folder.path(), name, &text, &[(10, 1.0)])
        };
        let runs = [
            counting("a", 0, true),
            counting("b", 1, true),
            counting("c", 0, false),
        ];
        let groups = Group::of(&runs).expect("readable");
        let ends: Vec<_> = groups
            .iter()
            .map(|group| group.curve().warmup_end)
            .collect();
        assert_eq!(
            ends,
            [Some(8.0), None],
            "they are no runs of one experiment"
        );
    }

    #[test]
    fn a_last_evaluation_between_those_of_others_is_no_spike() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let runs = [
            run(folder, "a", &config(0, 40, 4), &[(20, 0.0), (40, 10.0)]),
            // Its last evaluation is where it ended.
            run(folder, "b", &config(1, 25, 4), &[(20, 2.0), (25, 4.5)]),
        ];
        let groups = Group::of(&runs).expect("readable");
        let found: Vec<_> = (groups[0].curve().points.iter())
            .map(|point| (point.step, point.mean, point.runs))
            .collect();
        assert_eq!(found, [(20.0, 1.0, 2), (25.0, 3.5, 2), (40.0, 10.0, 1)]);
        let missing = groups[0].missing();
        assert!(
            missing.len() == 1 && missing[0].contains("seed 1 (b)"),
            "{missing:?}"
        );
        let summary = groups[0].summary().expect("step 20");
        assert!(
            summary.contains("last 1.00 ± 1.41 (of the 1 of 3 steps"),
            "{summary}"
        );
    }

    #[test]
    fn what_cannot_be_taken_together_is_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let first = run(folder, "a", &config(0, 30, 4), &[(10, 1.0)]);
        let error = |runs: &[PathBuf]| {
            let groups = Group::of(runs);
            let summary = groups.and_then(|groups| groups[0].summary());
            summary.expect_err("not to be taken together").to_string()
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
