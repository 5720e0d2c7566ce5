//! The ranges of a description's values.

use std::fmt::Display;

use crate::PolicyError;
use crate::description::{Description, FORMAT, MAX_PARTICLES, NetworkKind, PolicyKind, ValueHead};

/// Requires that `found`, the value of `key`, is in its range.
fn require(
    holds: bool,
    key: &str,
    found: impl Display,
    expected: impl Display,
) -> Result<(), PolicyError> {
    if holds {
        return Ok(());
    }
    Err(PolicyError::Value {
        key: key.to_owned(),
        found: found.to_string(),
        expected: expected.to_string(),
    })
}

fn at_least_one(key: &str, number: usize) -> Result<(), PolicyError> {
    require(number > 0, key, number, "at least 1")
}

/// A range of finite numbers and its name.
type Range = (fn(f64) -> bool, &'static str);

const ANY: Range = (|_| true, "finite");
const NOT_NEGATIVE: Range = (|x| x >= 0.0, "finite and at least 0");
const POSITIVE: Range = (|x| x > 0.0, "finite and above 0");

fn number(key: &str, value: f64, (sound, range): Range) -> Result<(), PolicyError> {
    require(value.is_finite() && sound(value), key, value, range)
}

/// Requires `count` values in `range`.
fn numbers(key: &str, values: &[f64], count: usize, range: Range) -> Result<(), PolicyError> {
    let (found, expected) = (
        format!("a list of {}", values.len()),
        format!("one of {count}"),
    );
    require(values.len() == count, key, found, expected)?;
    let mut values = values.iter().enumerate();
    values.try_for_each(|(i, value)| number(&format!("{key}[{i}]"), *value, range))
}

/// Requires the format that this version reads.
pub(crate) fn format(format: u32) -> Result<(), PolicyError> {
    let expected = format_args!("{FORMAT}, the only one that this version reads");
    require(format == FORMAT, "format", format, expected)
}

/// Requires of every value of a description that it is in its range.
pub(crate) fn description(description: &Description) -> Result<(), PolicyError> {
    let Description {
        observation_dim,
        action_dim,
        low,
        high,
        ..
    } = description;
    format(description.format)?;
    at_least_one("observation_dim", *observation_dim)?;
    at_least_one("action_dim", *action_dim)?;
    numbers("low", low, *action_dim, ANY)?;
    numbers("high", high, *action_dim, ANY)?;
    for (i, (centre, half_range)) in description.affine().enumerate() {
        let usable = centre.is_finite() && half_range.is_finite() && half_range > 0.0;
        let expected = format_args!("above low[{i}] = {} by a number of f32", low[i]);
        require(usable, &format!("high[{i}]"), high[i], expected)?;
    }
    if let Some(normalizer) = &description.observation_normalizer {
        let key = |name| format!("observation_normalizer.{name}");
        numbers(&key("mean"), &normalizer.mean, *observation_dim, ANY)?;
        numbers(&key("var"), &normalizer.var, *observation_dim, NOT_NEGATIVE)?;
        number(&key("epsilon"), normalizer.epsilon, POSITIVE)?;
        number(&key("clip"), normalizer.clip.unwrap_or(1.0), POSITIVE)?;
    }
    policy(&description.policy)
}

fn policy(policy: &PolicyKind) -> Result<(), PolicyError> {
    let (PolicyKind::Diffusion { network: trunk, .. }
    | PolicyKind::Gaussian { network: trunk }
    | PolicyKind::Deterministic { network: trunk }) = policy;
    network("policy.network", *trunk)?;
    let for_critics = matches!(trunk, NetworkKind::BatchNorm { .. });
    let expected = "mlp or residual, because batch_norm is for critics";
    require(!for_critics, "policy.network.kind", "batch_norm", expected)?;
    let PolicyKind::Diffusion {
        particles,
        start_scale,
        critics,
        ..
    } = policy
    else {
        return Ok(());
    };
    let usable = (1..=MAX_PARTICLES).contains(particles);
    let expected = format_args!("from 1 to {MAX_PARTICLES}");
    require(usable, "policy.particles", particles, expected)?;
    number("policy.start_scale", *start_scale, NOT_NEGATIVE)?;
    let Some(critics) = critics else {
        let expected = "given to choose among several particles";
        return require(*particles == 1, "policy.critics", "null", expected);
    };
    at_least_one("policy.critics.members", critics.members)?;
    if let ValueHead::Categorical { low, high } = critics.head {
        let usable = low < high && (high - low).is_finite();
        let expected = format_args!("finite and above low = {low}");
        require(usable, "policy.critics.head.high", high, expected)?;
    }
    network("policy.critics.network", critics.network)
}

fn network(key: &str, network: NetworkKind) -> Result<(), PolicyError> {
    match network {
        NetworkKind::Mlp { layers, .. } | NetworkKind::BatchNorm { layers } => {
            at_least_one(&format!("{key}.layers"), layers)
        }
        NetworkKind::Residual { .. } => Ok(()),
    }
}
