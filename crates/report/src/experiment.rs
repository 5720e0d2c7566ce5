//! Runs that differ in nothing but their seed, and what tells experiments apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::statistics::{Bootstrap, Estimate, Scores};
use crate::{ReportError, run::Run};

/// Differing settings in a name at most; more are told by the folder of the first run, without its task
/// and seed.
const MOST_IN_A_NAME: usize = 3;

/// Runs of one experiment on one task.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Algorithm, and what tells it from the others of the report: the same on every task.
    pub name: String,
    /// Task.
    pub task: String,
    /// By seed; there is at least one.
    pub runs: BTreeMap<i64, Run>,
}

/// A point of a learning curve over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Steps, or seconds.
    pub at: f64,
    /// Mean over the runs that have come so far, with its interval.
    pub mean: Estimate,
    /// How many they are.
    pub runs: usize,
}

/// The experiments of `runs`, by task and name.
///
/// # Errors
/// When two runs of an experiment have the same seed.
pub fn experiments(runs: Vec<Run>) -> Result<Vec<Experiment>, ReportError> {
    let names = names(&runs);
    let mut all: BTreeMap<(String, String), BTreeMap<i64, Run>> = BTreeMap::new();
    for (run, name) in runs.into_iter().zip(names) {
        let of = all.entry((run.task.clone(), name)).or_default();
        if let Some(other) = of.get(&run.seed) {
            return Err(ReportError::unfit(
                format!(
                    "the runs {} and {} have the same settings and the same seed, {}",
                    other.path.display(),
                    run.path.display(),
                    run.seed
                ),
                "give each run once; runs of one experiment differ in their seeds",
            ));
        }
        of.insert(run.seed, run);
    }
    let experiment = |((task, name), runs)| Experiment { name, task, runs };
    Ok(all.into_iter().map(experiment).collect())
}

/// A name for each of `runs`: the algorithm with the settings in which runs of the same algorithm on
/// any task differ, the task and what belongs to it aside.
fn names(runs: &[Run]) -> Vec<String> {
    let own = |run: &Run| -> BTreeMap<String, String> {
        let settings = run.settings.iter();
        let mine = settings.filter(|(key, _)| *key != "env" && !key.starts_with("task."));
        mine.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let settings: Vec<_> = runs.iter().map(own).collect();
    let differing = |algorithm: &str| -> BTreeSet<&String> {
        let of: Vec<_> = (runs.iter().zip(&settings))
            .filter(|(run, _)| run.algorithm == algorithm)
            .map(|(_, settings)| settings)
            .collect();
        let keys: BTreeSet<&String> = of.iter().flat_map(|settings| settings.keys()).collect();
        let differs = |key: &&String| {
            of.iter()
                .any(|settings| settings.get(*key) != of[0].get(*key))
        };
        keys.into_iter().filter(differs).collect()
    };
    let mut groups: Vec<(&str, &BTreeMap<String, String>, String)> = Vec::new();
    for (run, mine) in runs.iter().zip(&settings) {
        let algorithm = run.algorithm.as_str();
        if groups
            .iter()
            .any(|(of, settings, _)| *of == algorithm && *settings == mine)
        {
            continue;
        }
        let told = differing(algorithm);
        let parts: Vec<String> = told
            .iter()
            .filter_map(|key| Some((key, mine.get(*key)?)))
            .map(|(key, value)| format!("{}={value}", last(key)).replace('"', ""))
            .collect();
        let name = match parts.len() {
            0 => algorithm.to_owned(),
            1..=MOST_IN_A_NAME => format!("{algorithm} ({})", parts.join(", ")),
            _ => format!("{algorithm} ({})", without_task_and_seed(run)),
        };
        // Two that these do not tell apart are told by their folders, whose paths are different.
        let taken = |name: &String| groups.iter().any(|(_, _, other)| other == name);
        let folder = format!("{algorithm} ({})", run.curve.name);
        let path = format!("{algorithm} ({})", run.path.display());
        let mut candidates = [name, folder].into_iter();
        let name = candidates.find(|name| !taken(name)).unwrap_or(path);
        groups.push((algorithm, mine, name));
    }
    let name = |(run, mine): (&Run, &BTreeMap<String, String>)| {
        let found = groups.iter();
        let mut found = found.filter(|(of, settings, _)| *of == run.algorithm && *settings == mine);
        found
            .next()
            .map_or_else(String::new, |(_, _, name)| name.clone())
    };
    runs.iter().zip(&settings).map(name).collect()
}

/// The name of the run's folder, of which `-TASK-sSEED` is left out: an experiment has several of both.
fn without_task_and_seed(run: &Run) -> &str {
    let name = run.curve.name.as_str();
    let ending = format!("-{}-s{}", run.task, run.seed);
    let before = name.strip_suffix(ending.as_str());
    before.filter(|before| !before.is_empty()).unwrap_or(name)
}

/// The end of a dotted path that says which setting it is.
fn last(key: &str) -> &str {
    let key = key.strip_prefix("agent.").unwrap_or(key);
    let mut dots = key.rmatch_indices('.').map(|(at, _)| at);
    // Two words: `critic.learning_rate` and `actor.learning_rate` are two settings.
    dots.nth(1).map_or(key, |at| &key[at + 1..])
}

impl Experiment {
    /// Steps that its runs were to have, at most.
    pub fn planned(&self) -> f64 {
        self.runs
            .values()
            .map(|run| run.planned)
            .fold(0.0, f64::max)
    }

    /// Seeds whose run has not come to the planned number of steps, with where it stands.
    pub fn short(&self) -> Vec<(i64, f64)> {
        let planned = self.planned();
        let short = self.runs.values().filter(|run| run.reached() < planned);
        short.map(|run| (run.seed, run.reached())).collect()
    }

    /// The last evaluation of every run, or its best: mean over the runs.
    pub fn returns(&self, best: bool) -> Vec<f64> {
        let value = |run: &Run| run.final_and_best()[usize::from(best)];
        self.runs.values().map(value).collect()
    }

    /// Hours of the runs, mean; none where a run kept no log.
    pub fn hours(&self) -> Option<f64> {
        let of = |run: &Run| run.seconds_at(run.reached());
        let seconds: Option<Vec<f64>> = self.runs.values().map(of).collect();
        let seconds = seconds?;
        Some(seconds.iter().sum::<f64>() / seconds.len() as f64 / 3600.0)
    }

    /// Mean return by steps, with an interval over the seeds, at every step at which any run was
    /// evaluated. Runs that have not come so far have no part in a point, which says how many have.
    pub fn learning_curve(&self, bootstrap: &Bootstrap) -> Vec<Band> {
        let mut steps: Vec<f64> = (self.runs.values())
            .flat_map(|run| run.curve.points.iter().map(|point| point.step))
            .collect();
        steps.sort_by(f64::total_cmp);
        steps.dedup();
        let band = |step: f64| {
            let runs = self.runs.values();
            let returns: Vec<f64> = runs.filter_map(|run| run.curve.on_line(step)).collect();
            let count = returns.len();
            let scores = Scores::new(vec![returns])?;
            Some(Band {
                at: step,
                mean: bootstrap.estimate(&scores, Scores::mean),
                runs: count,
            })
        };
        steps.into_iter().filter_map(band).collect()
    }

    /// The same by mean seconds since the runs began; none where a run kept no log.
    pub fn by_time(&self, curve: &[Band]) -> Option<Vec<Band>> {
        let at = |band: &Band| {
            let runs = self.runs.values().filter(|run| run.reached() >= band.at);
            let seconds: Option<Vec<f64>> = runs.map(|run| run.seconds_at(band.at)).collect();
            let seconds = seconds.filter(|seconds| !seconds.is_empty())?;
            let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
            Some(Band { at: mean, ..*band })
        };
        curve.iter().map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::curve::{Curve, Point};

    fn run(algorithm: &str, task: &str, seed: i64, settings: &[(&str, &str)], to: u32) -> Run {
        let point = |i: u32| Point {
            step: f64::from(10 * i),
            mean: f64::from(i) + seed as f64,
            std: 0.0,
            runs: 1,
        };
        let own = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Run {
            path: PathBuf::from(format!("runs/{algorithm}-{task}-{seed}")),
            algorithm: algorithm.to_owned(),
            task: task.to_owned(),
            seed,
            planned: 30.0,
            settings: own.chain([("env".to_owned(), task.to_owned())]).collect(),
            curve: Curve {
                name: format!("{algorithm}-{seed}"),
                points: (1..=to).map(point).collect(),
                warmup_end: None,
                runs: 1,
            },
            metrics: BTreeMap::new(),
            not_finite: 0,
        }
    }

    /// A setting that several tasks share is named after none of them.
    #[test]
    fn many_settings_are_told_by_the_folder() {
        let all = |value| ["a", "b", "c", "d"].map(|key| (key, value));
        let named = |folder: &str, task: &str, value| {
            let mut run = run("dpmd", task, 0, &all(value), 3);
            run.curve.name = folder.to_owned();
            run.path = PathBuf::from("runs").join(folder);
            run
        };
        let names = |folders: [&str; 3]| {
            let [plain, ant, hopper] = folders;
            let runs = vec![
                named(plain, "Ant-v4", "0"),
                named(ant, "Ant-v4", "1"),
                named(hopper, "Hopper-v4", "1"),
            ];
            let mut all = experiments(runs).expect("distinct settings");
            all.sort_by(|one, other| one.name.cmp(&other.name));
            all.into_iter().map(|e| e.name).collect::<Vec<_>>()
        };
        assert_eq!(
            names(["plain-Ant-v4-s0", "wide-Ant-v4-s0", "wide-Hopper-v4-s0"]),
            ["dpmd (plain)", "dpmd (wide)", "dpmd (wide)"]
        );
        // Where that says nothing, or not enough, the whole name does.
        assert_eq!(
            names(["-Ant-v4-s0", "first", "second"]),
            ["dpmd (-Ant-v4-s0)", "dpmd (first)", "dpmd (first)"]
        );
        assert_eq!(
            names(["one-Ant-v4-s0", "one", "two"]),
            ["dpmd (one)", "dpmd (runs/one)", "dpmd (runs/one)"]
        );
    }

    #[test]
    fn experiments_are_named_by_what_tells_them_apart() {
        let noise = |value| [("agent.regression.noise", value), ("agent.gamma", "0.99")];
        let runs = vec![
            run("dpmd", "Ant-v4", 0, &noise("0.2"), 3),
            run("dpmd", "Ant-v4", 1, &noise("0.2"), 2),
            run("dpmd", "Hopper-v4", 0, &noise("0.1"), 3),
            run("sac", "Ant-v4", 0, &[("agent.gamma", "0.99")], 3),
        ];
        let all = experiments(runs).expect("distinct seeds");
        let names: Vec<_> = all
            .iter()
            .map(|e| (e.task.as_str(), e.name.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("Ant-v4", "dpmd (regression.noise=0.2)"),
                ("Ant-v4", "sac"),
                ("Hopper-v4", "dpmd (regression.noise=0.1)"),
            ]
        );
        let first = &all[0];
        assert_eq!(first.short(), [(1, 20.0)]);
        assert_eq!(first.returns(false), [3.0, 3.0]);
        let curve = first.learning_curve(&Bootstrap::default());
        assert_eq!(curve.len(), 3);
        assert_eq!((curve[1].runs, curve[1].mean.value), (2, 2.5));
        assert!(curve[1].mean.interval.is_some());
        // One seed has come to step 30.
        assert_eq!((curve[2].runs, curve[2].mean.value), (1, 3.0));
        assert_eq!(curve[2].mean.interval, None);
        assert_eq!(first.hours(), None);
    }

    #[test]
    fn a_seed_that_is_there_twice_is_refused() {
        let twice = vec![
            run("sac", "Ant-v4", 0, &[], 3),
            run("sac", "Ant-v4", 0, &[], 2),
        ];
        let error = experiments(twice).expect_err("one seed twice");
        assert!(error.to_string().contains("the same seed, 0"), "{error}");
    }
}
