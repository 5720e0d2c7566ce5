//! Diffusion policies: the denoising chain and the choice among its samples.

use rescore_noise::{NoiseKey, hash};

use crate::PolicyError;
use crate::description::{
    Activation, Combine, Critics, Description, NetworkKind, STREAM, ValueHead,
};
use crate::file::{Tensor, Tensors};
use crate::network::{Buffers, Builder, Network};

/// Time features of all steps together at most, which are computed when a policy is loaded: a small
/// file could ask for more memory than there is.
const MAX_TIME_FEATURES: usize = 1 << 24;

/// Samples actions by denoising noise and takes the best of them.
#[derive(Debug, Clone)]
pub(crate) struct Diffusion {
    network: Network,
    /// Time features of all steps, one row each.
    time: Vec<Vec<f32>>,
    steps: Tensor,
    key: NoiseKey,
    start_scale: f32,
    action_dim: usize,
    particles: usize,
    /// Critics that choose; none where there is nothing to choose.
    judges: Option<Judges>,
}

impl Diffusion {
    /// The policy made of `tensors`.
    pub fn take(
        tensors: &mut Tensors,
        description: &Description,
        network: NetworkKind,
        (particles, start_scale): (usize, f64),
        critics: Option<&Critics>,
    ) -> Result<Self, PolicyError> {
        let action_dim = description.action_dim;
        let joint_dim = description.observation_dim.saturating_add(action_dim);
        let steps = tensors.take("steps", [Some(1), None, Some(5)])?;
        let count = steps.shape[1];
        let times = match tensors.take_if_there("times", [Some(1), Some(1), Some(count)])? {
            Some(times) => times.values,
            None => (0..count).map(|t| t as f32).collect(),
        };
        let time = time_features(tensors, &times)?;
        let inputs = joint_dim.saturating_add(time[0].len());
        let policy = Builder::new(tensors, "policy", 1, Some(inputs));
        let network = policy.network(network, Some(action_dim))?;
        let judges = critics.map(|critics| Judges::take(tensors, critics, joint_dim));
        Ok(Self {
            network,
            time,
            steps,
            key: NoiseKey::new(description.seed, STREAM),
            start_scale: start_scale as f32,
            action_dim,
            particles,
            judges: judges.transpose()?.filter(|_| particles > 1),
        })
    }

    /// The best action for a normalised observation.
    pub fn act(&self, observation: &[f32]) -> Result<Vec<f32>, PolicyError> {
        let counter = hash(observation);
        let mut buffers = Buffers::default();
        let mut action = vec![0.0; self.action_dim];
        let (mut best, mut best_score) = (action.clone(), f32::NEG_INFINITY);
        for particle in 0..self.particles {
            self.sample(
                observation,
                particle as u32,
                counter,
                &mut action,
                &mut buffers,
            );
            let score = match &self.judges {
                Some(judges) => judges.score(observation, &action, &mut buffers)?,
                None => 0.0,
            };
            if score > best_score {
                best_score = score;
                best.copy_from_slice(&action);
            }
        }
        Ok(best)
    }

    /// Writes a sample to `action`.
    fn sample(
        &self,
        observation: &[f32],
        particle: u32,
        counter: u32,
        action: &mut [f32],
        buffers: &mut Buffers,
    ) {
        let mut noise = vec![0.0; self.action_dim];
        let draw = |t: usize, noise: &mut [f32]| {
            let width = noise.len();
            self.key
                .fill_normals(noise, width, particle, t as u32, counter);
        };
        let (steps, _) = self.steps.values.as_chunks::<5>();
        draw(steps.len(), &mut noise);
        for (x, noise) in action.iter_mut().zip(&noise) {
            *x = noise * self.start_scale;
        }
        for (t, step) in steps.iter().enumerate().rev() {
            let [recip, recip_minus_one, weight_x0, weight_xt, sigma] = step;
            buffers.input([observation, action, &self.time[t]]);
            self.network.apply(0, buffers);
            // The last step adds no noise.
            if t > 0 {
                draw(t, &mut noise);
            } else {
                noise.fill(0.0);
            }
            for ((x, predicted), noise) in action.iter_mut().zip(&buffers.x).zip(&noise) {
                let x0 = (*x * recip - predicted * recip_minus_one).clamp(-1.0, 1.0);
                *x = x0 * weight_x0 + *x * weight_xt + noise * sigma;
            }
        }
        for x in action {
            *x = x.clamp(-1.0, 1.0);
        }
    }
}

/// `time1(mish(time0(embedding(t))))` for each of `times`.
fn time_features(tensors: &mut Tensors, times: &[f32]) -> Result<Vec<Vec<f32>>, PolicyError> {
    let mut time = Builder::new(tensors, "policy", 1, None);
    time.linear("time0", None)?
        .activate(Activation::Mish)
        .linear("time1", None)?;
    let time = time.finish();
    let (inputs, outputs) = (time.inputs(), time.outputs());
    if !inputs.is_multiple_of(2) {
        let found = format!("{inputs} rows");
        let expected = "an even number, for sines and cosines";
        return Err(PolicyError::tensor("policy.time0.weight", found, expected));
    }
    let most = MAX_TIME_FEATURES / inputs.max(outputs);
    if times.len() > most {
        let (found, expected) = (format!("{} rows", times.len()), format!("at most {most}"));
        return Err(PolicyError::tensor("steps", found, expected));
    }
    let mut buffers = Buffers::default();
    let features = times.iter().map(|t| {
        buffers.input([&embedding(f64::from(*t), inputs)]);
        time.apply(0, &mut buffers);
        buffers.x.clone()
    });
    Ok(features.collect())
}

/// `concat(sin(t f), cos(t f)) / sqrt(width)` with `f[j] = 10000^(-j / (width / 2))`.
fn embedding(t: f64, width: usize) -> Vec<f32> {
    let half = width / 2;
    let scale = 1.0 / (width as f64).sqrt();
    let angle = |j: usize| t * 10_000_f64.powf(-(j as f64) / half as f64);
    let sines = (0..half).map(|j| (angle(j).sin() * scale) as f32);
    let cosines = (0..half).map(|j| (angle(j).cos() * scale) as f32);
    sines.chain(cosines).collect()
}

/// Critics that score actions.
#[derive(Debug, Clone)]
struct Judges {
    network: Network,
    critics: Critics,
}

impl Judges {
    fn take(tensors: &mut Tensors, critics: &Critics, inputs: usize) -> Result<Self, PolicyError> {
        let outputs = match critics.head {
            ValueHead::Scalar => Some(1),
            ValueHead::Categorical { .. } => None,
        };
        let builder = Builder::new(tensors, "critics", critics.members, Some(inputs));
        let network = builder.network(critics.network, outputs)?;
        if outputs.is_none() && network.outputs() < 2 {
            let expected = "two outputs or more, one for each atom of a categorical value";
            return Err(PolicyError::tensor("critics", "one output", expected));
        }
        Ok(Self {
            network,
            critics: critics.clone(),
        })
    }

    /// The score of an action.
    fn score(
        &self,
        observation: &[f32],
        action: &[f32],
        buffers: &mut Buffers,
    ) -> Result<f32, PolicyError> {
        let (mut smallest, mut sum) = (f32::INFINITY, 0.0);
        for member in 0..self.critics.members {
            buffers.input([observation, action]);
            self.network.apply(member, buffers);
            let value = match self.critics.head {
                ValueHead::Scalar => buffers.x[0],
                ValueHead::Categorical { low, high } => expectation(&buffers.x, low, high),
            };
            smallest = smallest.min(value);
            sum += value;
        }
        // NaN and infinity of any member are in the sum, too.
        if !sum.is_finite() {
            return Err(PolicyError::Diverged);
        }
        Ok(match self.critics.combine {
            Combine::Min => smallest,
            Combine::Mean => sum / self.critics.members as f32,
        })
    }
}

/// The mean of equally spaced atoms from `low` to `high` under the softmax of `logits`.
fn expectation(logits: &[f32], low: f64, high: f64) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut total, mut weighted) = (0.0, 0.0);
    for (i, logit) in logits.iter().enumerate() {
        let weight = f64::from((logit - largest).exp());
        let share = i as f64 / (logits.len() - 1) as f64;
        total += weight;
        weighted += weight * (low + (high - low) * share);
    }
    (weighted / total) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_categorical_value_is_the_mean_of_its_atoms() {
        let near = |found: f32, expected: f32| (found - expected).abs() < 1e-6;
        assert!(near(expectation(&[0.0, 0.0, 2_f32.ln()], -1.0, 1.0), 0.25));
        assert!(near(expectation(&[5.0, 5.0], 2.0, 4.0), 3.0));
        // Large logits stay finite.
        assert!(near(expectation(&[-3e38, 3e38, 0.0], 10.0, 30.0), 20.0));
    }

    #[test]
    fn the_embedding_begins_with_the_sines() {
        assert_eq!(embedding(0.0, 4), [0.0, 0.0, 0.5, 0.5]);
        let expected = [1_f64.sin(), 0.01_f64.sin(), 1_f64.cos(), 0.01_f64.cos()];
        assert_eq!(embedding(1.0, 4), expected.map(|x| (0.5 * x) as f32));
    }
}
