//! Statistics of scores over runs and tasks, and their bootstrap intervals (Agarwal et al. 2021, *Deep
//! Reinforcement Learning at the Edge of the Statistical Precipice*; equal to those of rliable).

use rescore_noise::NoiseKey;

/// Scores of the runs of one algorithm: for each task one for each run. Tasks may have different
/// numbers of runs, each has one at least.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores(Vec<Vec<f64>>);

/// A number with the bounds of an interval, where there are runs to have one over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Of all runs.
    pub value: f64,
    /// Lower and upper bound; none for one run a task, which resampling gives again.
    pub interval: Option<[f64; 2]>,
}

impl Scores {
    /// Scores by task; none when there is no task, a task has no run, or a score is not finite.
    pub fn new(tasks: Vec<Vec<f64>>) -> Option<Self> {
        let sound =
            |task: &Vec<f64>| !task.is_empty() && task.iter().all(|score| score.is_finite());
        (!tasks.is_empty() && tasks.iter().all(sound)).then_some(Self(tasks))
    }

    /// The scores of each task.
    pub fn tasks(&self) -> &[Vec<f64>] {
        &self.0
    }

    fn all(&self) -> Vec<f64> {
        self.0.concat()
    }

    fn task_means(&self) -> Vec<f64> {
        self.0.iter().map(|task| mean(task)).collect()
    }

    /// Mean over tasks of the mean over runs.
    pub fn mean(&self) -> f64 {
        mean(&self.task_means())
    }

    /// Median over tasks of the mean over runs.
    pub fn median(&self) -> f64 {
        let mut means = self.task_means();
        means.sort_by(f64::total_cmp);
        percentile(&means, 0.5)
    }

    /// Interquartile mean: of all runs and tasks together, without the lowest and the highest quarter.
    pub fn iqm(&self) -> f64 {
        let mut all = self.all();
        all.sort_by(f64::total_cmp);
        let cut = all.len() / 4;
        mean(&all[cut..all.len() - cut])
    }

    /// Mean over runs and tasks of how far a score falls short of `target`.
    pub fn optimality_gap(&self, target: f64) -> f64 {
        let clipped: Vec<f64> = self.all().iter().map(|score| score.min(target)).collect();
        target - mean(&clipped)
    }

    /// Share of runs and tasks whose score exceeds `threshold`: a point of the performance profile.
    pub fn share_above(&self, threshold: f64) -> f64 {
        let all = self.all();
        let above = all.iter().filter(|score| **score > threshold).count();
        above as f64 / all.len() as f64
    }

    /// Mean over tasks of the probability that a run has a higher score than one of `other`, ties by
    /// half; none where the tasks are not the same number.
    pub fn probability_of_improvement(&self, other: &Self) -> Option<f64> {
        let of_task = |(mine, others): (&Vec<f64>, &Vec<f64>)| {
            let pairs = mine.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
            let wins: f64 = pairs
                .map(|(a, b)| match a.total_cmp(b) {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Less => 0.0,
                })
                .sum();
            wins / (mine.len() * others.len()) as f64
        };
        let pairs: Vec<f64> = self.0.iter().zip(&other.0).map(of_task).collect();
        (self.0.len() == other.0.len()).then(|| mean(&pairs))
    }

    /// Whether resampling can give anything else.
    fn has_spread(&self) -> bool {
        self.0.iter().any(|task| task.len() > 1)
    }

    /// The scores in which run `run` of task `task` is replaced by `pick(run, task, runs)`, a number
    /// below `runs`.
    fn resampled(&self, mut pick: impl FnMut(usize, usize, usize) -> usize) -> Self {
        let task = |(number, scores): (usize, &Vec<f64>)| {
            let runs = scores.len();
            let taken = (0..runs).map(|run| scores[pick(run, number, runs)]);
            taken.collect()
        };
        Self(self.0.iter().enumerate().map(task).collect())
    }
}

/// Stratified bootstrap: runs are drawn with replacement within every task. The same seed draws the
/// same runs.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap {
    /// Seed of the draws.
    pub seed: u64,
    /// Resamples.
    pub replications: u32,
    /// Share of the resamples inside of an interval, in (0, 1).
    pub coverage: f64,
}

impl Default for Bootstrap {
    /// 2000 resamples, of which an interval holds 95 %.
    fn default() -> Self {
        Self {
            seed: 0,
            replications: 2000,
            coverage: 0.95,
        }
    }
}

impl Bootstrap {
    /// `statistic` of `scores` with its percentile interval.
    pub fn estimate(&self, scores: &Scores, statistic: impl Fn(&Scores) -> f64) -> Estimate {
        let interval = scores.has_spread().then(|| {
            let values = (0..self.replications)
                .map(|number| statistic(&self.resample(scores, "scores", number)));
            interval(values.collect(), self.coverage)
        });
        Estimate {
            value: statistic(scores),
            interval,
        }
    }

    /// As [`Bootstrap::estimate`] of two algorithms whose runs are drawn independently.
    pub fn compare(
        &self,
        [a, b]: [&Scores; 2],
        statistic: impl Fn(&Scores, &Scores) -> Option<f64>,
    ) -> Option<Estimate> {
        let value = statistic(a, b)?;
        let spread = a.has_spread() || b.has_spread();
        let draw = |number| {
            let [a, b] = [(a, "scores"), (b, "others")]
                .map(|(scores, name)| self.resample(scores, name, number));
            statistic(&a, &b)
        };
        let values: Option<Vec<f64>> = (0..self.replications).map(draw).collect();
        let interval = values.filter(|_| spread);
        Some(Estimate {
            value,
            interval: interval.map(|values| self::interval(values, self.coverage)),
        })
    }

    fn resample(&self, scores: &Scores, name: &str, number: u32) -> Scores {
        let key = NoiseKey::new(self.seed, name);
        scores.resampled(|run, task, runs| {
            let uniform = f64::from(key.uniform(run as u32, task as u32, number));
            // Rounding may give 1.
            ((uniform * runs as f64) as usize).min(runs - 1)
        })
    }
}

/// The bounds between which the share `coverage` of `values` lies.
fn interval(mut values: Vec<f64>, coverage: f64) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    let outside = 0.5 * (1.0 - coverage);
    [outside, 1.0 - outside].map(|at| percentile(&values, at))
}

/// The value at the fraction `at` of ascending `values`, on the line between the two next to it.
fn percentile(values: &[f64], at: f64) -> f64 {
    let place = at * (values.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    values[below] + (place - place.floor()) * (values[above] - values[below])
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// What `tests/rliable/record.py` wrote.
    #[derive(Deserialize)]
    struct Case {
        scores: Vec<Vec<f64>>,
        other: Vec<Vec<f64>>,
        mean: f64,
        median: f64,
        iqm: f64,
        optimality_gap: f64,
        probability_of_improvement: f64,
        taus: Vec<f64>,
        profile: Vec<f64>,
        /// Of a resample, a run and a task.
        resamples: Vec<Vec<Vec<usize>>>,
        /// Lower and upper bounds of mean, median, interquartile mean and gap.
        interval: [[f64; 4]; 2],
    }

    fn close(found: f64, expected: f64, what: &str) {
        assert!(
            (found - expected).abs() < 1e-12,
            "{what}: {found}, not {expected}"
        );
    }

    fn scores(tasks: &[Vec<f64>]) -> Scores {
        Scores::new(tasks.to_vec()).expect("finite scores")
    }

    #[test]
    fn statistics_and_intervals_are_those_of_rliable() {
        let text = include_str!("../tests/rliable/cases.json");
        let cases: Vec<Case> = serde_json::from_str(text).expect("cases");
        assert!(cases.len() >= 5);
        for case in cases {
            let (mine, other) = (scores(&case.scores), scores(&case.other));
            let all = |scores: &Scores| {
                [
                    scores.mean(),
                    scores.median(),
                    scores.iqm(),
                    scores.optimality_gap(1.0),
                ]
            };
            let expected = [case.mean, case.median, case.iqm, case.optimality_gap];
            for (i, (found, expected)) in all(&mine).into_iter().zip(expected).enumerate() {
                close(found, expected, &format!("statistic {i}"));
            }
            let improvement = mine.probability_of_improvement(&other);
            let improvement = improvement.expect("the same tasks");
            close(improvement, case.probability_of_improvement, "improvement");
            for (tau, share) in case.taus.iter().zip(&case.profile) {
                close(mine.share_above(*tau), *share, "profile");
            }
            let draws = case.resamples.iter();
            let draws: Vec<[f64; 4]> = draws
                .map(|indices| all(&mine.resampled(|run, task, _| indices[run][task])))
                .collect();
            for i in 0..4 {
                let bounds = interval(draws.iter().map(|draw| draw[i]).collect(), 0.95);
                for (found, expected) in bounds.into_iter().zip(case.interval.map(|b| b[i])) {
                    close(found, expected, &format!("interval of statistic {i}"));
                }
            }
        }
    }

    #[test]
    fn one_seed_gives_the_same_interval_and_one_run_none() {
        let bootstrap = Bootstrap::default();
        let many = scores(&[vec![0.1, 0.5, 0.9], vec![0.3, 0.2]]);
        let [a, b] = [(); 2].map(|()| bootstrap.estimate(&many, Scores::iqm));
        assert_eq!(a, b);
        let [low, high] = a.interval.expect("several runs");
        assert!(low < a.value && a.value < high, "{a:?}");
        let other = Bootstrap {
            seed: 1,
            ..bootstrap
        };
        assert_ne!(
            other.estimate(&many, Scores::mean),
            bootstrap.estimate(&many, Scores::mean)
        );
        let single = scores(&[vec![0.4], vec![0.8]]);
        assert_eq!(bootstrap.estimate(&single, Scores::mean).interval, None);
        let better = scores(&[vec![1.0, 1.1, 1.2], vec![1.0, 1.3]]);
        let wins = bootstrap.compare([&better, &many], Scores::probability_of_improvement);
        let wins = wins.expect("the same tasks");
        close(wins.value, 1.0, "improvement");
        assert_eq!(wins.interval, Some([1.0, 1.0]));
        let fewer = scores(&[vec![1.0]]);
        assert!(
            bootstrap
                .compare([&fewer, &many], Scores::probability_of_improvement)
                .is_none()
        );
    }

    #[test]
    fn scores_that_are_none_are_refused() {
        for tasks in [vec![], vec![vec![]], vec![vec![0.0], vec![f64::NAN]]] {
            assert_eq!(Scores::new(tasks), None);
        }
    }
}
