//! Exported policies: one file that `rescore-policy` acts from, without a tensor library.

use std::collections::BTreeMap;

use rescore_agents::{Acting, learners::BestOf};
use rescore_critics::Head;
use rescore_envs::Space;
use rescore_kernels::{Activation, Combine, RescoreBackend};
use rescore_nn::{Network, Tree, leaves};
use rescore_policy::Tensor;
use rescore_policy::description::{
    self, Critics, Description, FORMAT, NetworkKind, PolicyKind, ValueHead,
};

use crate::RunError;
use crate::config::Config;
use crate::normalize::ObservationNormalizer;
use crate::policy::Policy;

/// The bytes of the file from which `policy`, trained as `config` says, acts in tasks with actions
/// in `space`.
///
/// # Errors
/// When the algorithm does not say what its actions are computed from, or a parameter is not finite.
pub fn export<B: RescoreBackend>(
    policy: &Policy<B>,
    config: &Config,
    space: &Space,
) -> Result<Vec<u8>, RunError> {
    let acting = policy.agent.acting().ok_or_else(|| {
        RunError::usage(
            format!("the policy of `{}` cannot be exported", config.algo),
            "its agent does not implement `Agent::acting`; `eval` and `rescore::Policy` play it",
        )
    })?;
    let acting = match (acting, config.evaluation.best_of) {
        (acting, 0) => acting,
        (Acting::Diffusion(best_of), particles) => Acting::Diffusion(BestOf {
            particles,
            ..best_of
        }),
        (Acting::Gaussian { .. } | Acting::Deterministic(_), count) => {
            return Err(RunError::usage(
                format!("the policy plays the best of {count} samples, which files do not have"),
                "`evaluation.best_of = 0` in its config.toml exports the mean action",
            ));
        }
    };
    let mut tensors = BTreeMap::new();
    let description = Description {
        format: FORMAT,
        algorithm: config.algo.clone(),
        task: config.env.clone(),
        step: policy.description.step,
        seed: config.seed,
        observation_dim: policy.description.observation_dim,
        action_dim: policy.description.action_dim,
        low: space.low().to_vec(),
        high: space.high().to_vec(),
        observation_normalizer: (policy.normalizer.as_ref()).map(ObservationNormalizer::describe),
        policy: kind(&acting, &mut tensors).ok_or_else(|| {
            RunError::usage(
                "the policy cannot be exported: its sampler is not among those that files have",
                "`eval` and `rescore::Policy` play it; `sde.sampler = \"euler_maruyama\"` can be exported",
            )
        })?,
    };
    rescore_policy::write(&description, &tensors).map_err(|error| {
        RunError::usage(
            format!("the policy cannot be exported: {error}"),
            "another checkpoint may be sound: --checkpoint best",
        )
    })
}

/// How a policy acts; its tensors go into `tensors`. None where its sampler is no chain.
fn kind<B: RescoreBackend>(
    acting: &Acting<'_, B>,
    tensors: &mut BTreeMap<String, Tensor>,
) -> Option<PolicyKind> {
    Some(match acting {
        Acting::Diffusion(best_of) => {
            let (policy, critics) = (best_of.policy, best_of.judges.critics);
            put(tensors, "policy", policy);
            put(tensors, "critics", critics);
            let (steps, times) = best_of.sampler.chain()?;
            // Steps numbered from 0 are what a file without times means.
            if times
                .iter()
                .enumerate()
                .any(|(t, time)| (time - t as f64).abs() > 0.0)
            {
                let times = Tensor {
                    shape: [1, 1, times.len()],
                    values: times.iter().map(|time| *time as f32).collect(),
                };
                tensors.insert("times".to_owned(), times);
            }
            let rows = steps.iter().flat_map(|step| {
                [
                    step.sqrt_recip_alpha_bar,
                    step.sqrt_recip_alpha_bar_minus_one,
                    step.posterior_x0,
                    step.posterior_xt,
                    step.sigma,
                ]
            });
            let steps = Tensor {
                shape: [1, steps.len(), 5],
                values: rows.collect(),
            };
            tensors.insert("steps".to_owned(), steps);
            PolicyKind::Diffusion {
                network: network(&policy.trunk),
                particles: best_of.particles,
                start_scale: f64::from(best_of.sampler.start_scale()),
                critics: Some(Critics {
                    members: critics.network.members(),
                    network: network(&critics.network),
                    head: match critics.head {
                        Head::Scalar => ValueHead::Scalar,
                        Head::Categorical(support) => {
                            let [low, high] = support.bounds();
                            ValueHead::Categorical { low, high }
                        }
                    },
                    combine: match best_of.judges.combine {
                        Combine::Min => description::Combine::Min,
                        Combine::Mean => description::Combine::Mean,
                    },
                }),
            }
        }
        Acting::Gaussian { actor, .. } => {
            put(tensors, "policy", &actor.policy);
            PolicyKind::Gaussian {
                network: network(&actor.policy),
            }
        }
        Acting::Deterministic(actor) => {
            put(tensors, "policy", &actor.policy);
            PolicyKind::Deterministic {
                network: network(&actor.policy),
            }
        }
    })
}

/// Puts the leaves of `tree` into `tensors` under names that begin with `prefix`.
fn put<B: RescoreBackend>(
    tensors: &mut BTreeMap<String, Tensor>,
    prefix: &str,
    tree: &impl Tree<B>,
) {
    for (name, _, leaf) in leaves(tree) {
        let tensor = Tensor {
            shape: leaf.dims(),
            values: leaf.into_data().iter::<f32>().collect(),
        };
        let name = name.replace(".variance", ".var");
        tensors.insert(format!("{prefix}.{name}"), tensor);
    }
}

fn network<B: RescoreBackend>(network: &Network<B>) -> NetworkKind {
    match network {
        Network::Mlp(mlp) => NetworkKind::Mlp {
            layers: mlp.layers.len(),
            activation: match mlp.activation {
                Activation::Mish => description::Activation::Mish,
                Activation::Gelu => description::Activation::Gelu,
                Activation::Relu => description::Activation::Relu,
                Activation::Tanh => description::Activation::Tanh,
            },
        },
        Network::Residual(residual) => NetworkKind::Residual {
            blocks: residual.blocks.len(),
        },
        Network::BatchNormMlp(mlp) => NetworkKind::BatchNorm {
            layers: mlp.layers.len(),
        },
    }
}
