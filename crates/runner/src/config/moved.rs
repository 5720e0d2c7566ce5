//! Keys of earlier versions, and where they went.

use super::{ConfigError, Setting};

/// Earlier keys with what they are now. A key whose new name has the same last name needs no entry.
const MOVED: &[(&str, &str)] = &[
    ("agent.tau", "`agent.target.tau`"),
    ("agent.target_delay", "`agent.target.every`"),
    ("agent.critic_lr", "`agent.critic.learning_rate`"),
    ("agent.policy_lr", "`agent.actor.learning_rate`"),
    (
        "agent.policy_lr_end",
        "`agent.actor.final_fraction`, a fraction of the learning rate",
    ),
    (
        "agent.actor.learning_rate_end",
        "`agent.actor.final_fraction`, a fraction of the learning rate",
    ),
    (
        "agent.actor.act_particles",
        "`agent.acting.particles` of `dpmd` and `sdac`",
    ),
    (
        "agent.policy_lr_begin",
        "`agent.actor.decay_begin`, a fraction of the run",
    ),
    (
        "agent.policy_lr_length",
        "`agent.actor.decay_end`, a fraction of the run",
    ),
    ("agent.temperature_lr", "`agent.temperature.learning_rate`"),
    ("agent.initial_temperature", "`agent.temperature.initial`"),
    (
        "agent.initializer",
        "`agent.critic.network.initializer` and `agent.actor.network.initializer`",
    ),
    ("training.replay_capacity", "`replay.capacity`"),
    ("training.store_replay", "`replay.store`"),
    ("training.eval_every", "`evaluation.every`"),
    ("training.eval_episodes", "`evaluation.episodes`"),
    ("training.eval_max_steps", "`evaluation.max_steps`"),
    (
        "task.normalize_observation",
        "`training.normalize_observation`",
    ),
];

/// Keys that are gone, with what to do without them.
const GONE: &[(&str, &str)] = &[
    (
        "agent.clip_exploration",
        "`dpmd` and `sdac` clip actions with noise; the references do not",
    ),
    (
        "agent.target_exploration",
        "`agent.exploration.noise_scale = 0.0` samples without noise everywhere",
    ),
    (
        "agent.behaviour_policy",
        "the moving average of the policy acts; `agent.target.tau = 1.0` makes it the policy",
    ),
    (
        "agent.exploration.noise_before_choice",
        "`dpmd` adds `agent.regression.noise` to particles before they are scored",
    ),
    (
        "agent.skip_unused",
        "nothing is computed that an update does not use",
    ),
];

/// The keys that a name without its table may have been.
fn paths(key: &str) -> [String; 3] {
    ["agent.", "training.", "task."].map(|table| format!("{table}{key}"))
}

/// Refuses a key that has moved or is gone, and says what there is instead.
///
/// # Errors
/// When `setting` has such a key.
pub fn check(setting: &Setting) -> Result<(), ConfigError> {
    let key = &setting.key;
    let is = |old: &str| old == key || (!key.contains('.') && paths(key).iter().any(|p| p == old));
    if let Some((old, new)) = MOVED.iter().find(|(old, _)| is(old)) {
        return Err(ConfigError::new(setting, format!("`{old}` is now {new}")));
    }
    if let Some((old, instead)) = GONE.iter().find(|(old, _)| is(old)) {
        let error = ConfigError::new(setting, format!("`{old}` is gone"));
        return Err(error.with_hint(*instead));
    }
    Ok(())
}

/// What to do instead of a preset that is gone.
pub fn preset(algo: &str, name: &str) -> Option<String> {
    let base = algo.strip_suffix("-reference").unwrap_or(algo);
    if !["dpmd", "sdac"].contains(&base) {
        return None;
    }
    match name {
        "fast" => Some(format!("`--algo {base}` learns faster than it did")),
        "reference" => Some(format!("it is the algorithm `{base}-reference` now")),
        "corrected" => {
            let own = if base == "dpmd" {
                "q_normalization=standardize, critic_steps=1"
            } else {
                "q_scale=1.0"
            };
            Some(format!(
                "`--algo {base}-reference` with {own} and start_scale=1.0 comes nearest: the chain \
                 starts where the forward process ends"
            ))
        }
        _ => None,
    }
}
