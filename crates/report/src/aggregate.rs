//! Experiments over several tasks: normalised scores and their statistics.

use std::collections::BTreeSet;

use crate::experiment::Experiment;
use crate::reference::References;
use crate::statistics::{Bootstrap, Estimate, Scores};

/// Names of which every pair is compared; more are compared with the best of them alone.
const MOST_PAIRED: usize = 6;

/// Thresholds of a performance profile.
const THRESHOLDS: u32 = 60;

/// What is said of experiments over all tasks that have a scale.
#[derive(Debug, Clone)]
pub struct Aggregates {
    /// The tasks, with the returns that are the scores 0 and 1.
    pub tasks: Vec<(String, [f64; 2])>,
    /// Of each name that has runs on all of these tasks.
    pub of: Vec<Aggregate>,
    /// Names that lack some of the tasks, with those.
    pub left_out: Vec<(String, Vec<String>)>,
    /// Probability that the first of two names beats the second.
    pub improvements: Vec<(String, String, Estimate)>,
}

/// The statistics of one name.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// Name of the experiments.
    pub name: String,
    /// Runs of each task at least and at most.
    pub seeds: [usize; 2],
    /// Interquartile mean.
    pub iqm: Estimate,
    /// Median over tasks.
    pub median: Estimate,
    /// Mean over tasks.
    pub mean: Estimate,
    /// How far scores fall short of 1.
    pub optimality_gap: Estimate,
    /// Threshold, and share of runs above it.
    pub profile: Vec<(f64, Estimate)>,
}

impl Aggregates {
    /// Of the last evaluations of `experiments`; none where no task has a scale.
    pub fn of(
        experiments: &[Experiment],
        references: &References,
        bootstrap: &Bootstrap,
    ) -> Option<Self> {
        let tasks: BTreeSet<&str> = experiments.iter().map(|e| e.task.as_str()).collect();
        let tasks: Vec<(String, [f64; 2])> = tasks
            .into_iter()
            .filter_map(|task| Some((task.to_owned(), references.scale(task)?)))
            .collect();
        if tasks.is_empty() {
            return None;
        }
        let names: BTreeSet<&str> = experiments.iter().map(|e| e.name.as_str()).collect();
        let (mut found, mut left_out) = (Vec::new(), Vec::new());
        for name in names {
            let on = |task: &str| {
                experiments
                    .iter()
                    .find(|e| e.name == name && e.task == task)
            };
            let lacking = tasks.iter().filter(|(task, _)| on(task).is_none());
            let lacking: Vec<String> = lacking.map(|(task, _)| task.clone()).collect();
            let normalised = tasks.iter().filter_map(|(task, [low, high])| {
                let returns = on(task)?.returns(false);
                Some(returns.iter().map(|r| (r - low) / (high - low)).collect())
            });
            match Scores::new(normalised.collect()) {
                Some(scores) if lacking.is_empty() => found.push((name.to_owned(), scores)),
                _ => left_out.push((name.to_owned(), lacking)),
            }
        }
        let highest = found.iter().flat_map(|(_, scores)| scores.tasks().concat());
        let highest = highest.fold(1.0, f64::max);
        let best = found.iter().max_by(|a, b| a.1.iqm().total_cmp(&b.1.iqm()));
        let best = best.map(|(name, _)| name.clone());
        let few = found.len() <= MOST_PAIRED;
        let pairs = found.iter().flat_map(|a| found.iter().map(move |b| (a, b)));
        let improvements = pairs
            .filter(|(a, b)| a.0 != b.0 && (few || Some(&a.0) == best.as_ref()))
            .filter_map(|((a, mine), (b, others))| {
                let of = bootstrap.compare([mine, others], Scores::probability_of_improvement)?;
                Some((a.clone(), b.clone(), of))
            })
            .collect();
        let aggregate = |(name, scores): (String, Scores)| {
            let counts = scores.tasks().iter().map(Vec::len);
            let estimate = |statistic: fn(&Scores) -> f64| bootstrap.estimate(&scores, statistic);
            let at = |i: u32| highest * f64::from(i) / f64::from(THRESHOLDS);
            Aggregate {
                seeds: [counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0)],
                iqm: estimate(Scores::iqm),
                median: estimate(Scores::median),
                mean: estimate(Scores::mean),
                optimality_gap: estimate(|scores| scores.optimality_gap(1.0)),
                profile: (0..=THRESHOLDS)
                    .map(|i| (at(i), bootstrap.estimate(&scores, |s| s.share_above(at(i)))))
                    .collect(),
                name,
            }
        };
        Some(Self {
            tasks,
            of: found.into_iter().map(aggregate).collect(),
            left_out,
            improvements,
        })
    }
}
