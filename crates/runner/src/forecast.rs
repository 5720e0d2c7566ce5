//! How long a run will take, from its first updates.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::progress::clock;

/// The first updates are not counted: kernels are compiled and memory is taken in them.
const NOT_COUNTED: u64 = 2;
/// The forecast is made after so many more: an even number, because every second update may do
/// more.
const COUNTED: u64 = 8;

/// Measures the first iterations of a process and says once how long the rest will take.
#[derive(Debug, Default)]
pub struct Forecast {
    updates: u64,
    updating: Duration,
    steps: u64,
    stepping: Duration,
    said: bool,
}

/// Seconds that parts of the rest will take.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rest {
    updates: f64,
    steps: f64,
    evaluations: f64,
    /// Until the next evaluation is done.
    to_evaluation: f64,
}

impl Rest {
    fn total(&self) -> f64 {
        self.updates + self.steps + self.evaluations
    }
}

impl Forecast {
    /// Counts `count` updates that were made since `begun`, while environments may have stepped.
    pub fn updated(&mut self, begun: Instant, count: u64) {
        self.updates += count;
        if count == 0 {
            self.stepping += begun.elapsed();
        } else if self.updates > NOT_COUNTED {
            self.updating += begun.elapsed();
        } else {
            (self.steps, self.stepping) = (0, Duration::ZERO);
        }
    }

    /// Counts `count` environment steps, acting included, that were made since `begun`.
    pub fn stepped(&mut self, begun: Instant, count: u64) {
        self.steps += count;
        self.stepping += begun.elapsed();
    }

    /// Says once, after the first updates of the process, how long it takes from `step` on.
    pub fn say(&mut self, config: &Config, step: u64) {
        if self.said || self.updates < NOT_COUNTED + COUNTED || self.steps == 0 {
            return;
        }
        self.said = true;
        if let Some(line) = self.line(config, step) {
            tracing::info!("{line}");
        }
    }

    fn line(&self, config: &Config, step: u64) -> Option<String> {
        let left = config.steps.checked_sub(step).filter(|left| *left > 0)?;
        let rest = self.rest(config, step, left);
        let total = rest.total();
        let percent = |part: f64| format!("{:.0} %", 100.0 * part / total.max(1e-9));
        Some(format!(
            "estimate: next evaluation, at step {}, done in about {}; end, at step {}, in about {} \
             (updates {}, acting and environments {}, evaluations {}{}); shorter with --steps N (now {}) \
             or --set {}",
            next_evaluation(config, step),
            clock(rest.to_evaluation),
            config.steps,
            clock(total),
            percent(rest.updates),
            percent(rest.steps),
            percent(rest.evaluations),
            if config.task.time_limit.is_none() {
                ", whose episodes have no time limit"
            } else {
                ""
            },
            config.steps,
            setting(config, &rest)
        ))
    }

    fn rest(&self, config: &Config, step: u64, left: u64) -> Rest {
        let training = &config.training;
        // Of one environment step.
        let counted = (self.updates - NOT_COUNTED).max(1) as f64;
        let updating = self.updating.as_secs_f64() / counted * training.updates_per_step;
        let stepping = self.stepping.as_secs_f64() / self.steps.max(1) as f64;
        // Acting in an evaluation costs about as much for each environment as in training.
        let episode = f64::from(config.task.time_limit.unwrap_or(0)) * stepping;
        let evaluation = config.evaluation.episodes as f64 * episode;
        let every = config.evaluation.every;
        let evaluations =
            config.steps / every - step / every + u64::from(!config.steps.is_multiple_of(every));
        let before = (next_evaluation(config, step) - step) as f64;
        Rest {
            updates: left as f64 * updating,
            steps: left as f64 * stepping,
            evaluations: evaluations as f64 * evaluation,
            to_evaluation: before * (updating + stepping) + evaluation,
        }
    }
}

/// The step of the next evaluation after `step`.
fn next_evaluation(config: &Config, step: u64) -> u64 {
    let every = config.evaluation.every;
    ((step / every).saturating_add(1).saturating_mul(every)).min(config.steps)
}

/// The setting that matters most beside the number of steps, with its value.
fn setting(config: &Config, rest: &Rest) -> String {
    let training = &config.training;
    if rest.evaluations > rest.updates {
        return format!("evaluation.episodes=N (now {})", config.evaluation.episodes);
    }
    let agent = config.agent.settings.table();
    let regressed = agent
        .get("regression")
        .and_then(|table| table.get("particles"));
    let sampled = agent.get("particles").map(|count| ("particles", count));
    let samples = regressed
        .map(|count| ("regression.particles", count))
        .or(sampled);
    match samples.and_then(|(key, count)| Some((key, count.as_integer()?))) {
        Some((key, count)) if count > 1 => format!("{key}=N (now {count})"),
        _ => format!("updates_per_step=N (now {})", training.updates_per_step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, resolve};

    fn config(algo: &str, set: &[&str]) -> Config {
        let published = [
            "steps=1000000",
            "updates_per_step=0.2",
            "evaluation.every=50000",
            "evaluation.episodes=20",
        ];
        let particles = (algo != "sac").then_some("particles=32");
        let set = published.iter().chain(&particles).chain(set);
        let request = Request {
            algo: Some(algo.into()),
            env: Some("Pendulum-v1".into()),
            set: set.map(|&setting| setting.to_owned()).collect(),
            ..Request::default()
        };
        resolve(&request).expect("a configuration")
    }

    /// 8 counted updates of 0.25 s, 50 steps of 1 ms.
    fn measured() -> Forecast {
        Forecast {
            updates: 10,
            updating: Duration::from_secs(2),
            steps: 50,
            stepping: Duration::from_millis(50),
            said: false,
        }
    }

    #[test]
    fn the_rest_is_updates_steps_and_evaluations() {
        let config = config("dpmd-reference", &["steps=120000"]);
        let rest = measured().rest(&config, 50, 119_950);
        // 0.2 updates a step; three evaluations, of 20 episodes of 200 steps.
        assert!((rest.updates - 119_950.0 * 0.05).abs() < 1e-6, "{rest:?}");
        assert!((rest.steps - 119.95).abs() < 1e-6, "{rest:?}");
        assert!((rest.evaluations - 12.0).abs() < 1e-6, "{rest:?}");
        assert!(
            (rest.to_evaluation - (49_950.0 * 0.051 + 4.0)).abs() < 1e-6,
            "{rest:?}"
        );
        let line = measured().line(&config, 50).expect("steps are left");
        for part in [
            "at step 50000, done in about 0:42:31",
            "end, at step 120000, in about 1:42:09",
            "updates 98 %",
            "shorter with --steps N (now 120000) or --set particles=N (now 32)",
        ] {
            assert!(line.contains(part), "no {part} in {line}");
        }
        assert_eq!(measured().line(&config, 120_000), None);
    }

    #[test]
    fn the_setting_named_is_the_one_that_matters() {
        let named =
            |algo: &str, set: &[&str]| measured().line(&config(algo, set), 50).expect("left");
        assert!(named("sac", &[]).ends_with("--set updates_per_step=N (now 0.2)"));
        assert!(
            named("dpmd-reference", &["particles=1"])
                .ends_with("--set updates_per_step=N (now 0.2)")
        );
        let often = ["evaluation.every=100", "evaluation.episodes=64"];
        assert!(named("dpmd-reference", &often).ends_with("--set evaluation.episodes=N (now 64)"));
    }

    #[test]
    fn the_first_updates_are_not_counted() {
        let mut forecast = Forecast::default();
        let begun = Instant::now();
        forecast.stepped(begun, 5);
        forecast.updated(begun, NOT_COUNTED);
        assert_eq!((forecast.steps, forecast.updating), (0, Duration::ZERO));
        forecast.stepped(begun, 5);
        forecast.updated(begun, COUNTED - 1);
        forecast.say(&config("sac", &[]), 10);
        assert!(!forecast.said, "too early");
        forecast.updated(begun, 1);
        forecast.say(&config("sac", &[]), 10);
        assert!(forecast.said && forecast.steps == 5);
    }
}
