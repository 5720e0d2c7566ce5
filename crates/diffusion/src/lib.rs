//! Diffusion policies: noise schedules, time embedding, denoiser and samplers.
//!
//! Notation (Ho, Jain and Abbeel 2020): `beta[t]` noise added at step `t`, `alpha = 1 - beta`,
//! `alpha_bar[t]` their cumulative product; `x_t = sqrt(alpha_bar[t]) x_0 + sqrt(1 - alpha_bar[t])
//! epsilon` is the noisy action; the denoiser predicts `epsilon` (`noise_pred`).
//!
//! ```
//! use burn::{backend::{Flex, flex::FlexDevice}, tensor::Tensor};
//! use rescore_diffusion::{Denoiser, DenoiserShape, NoiseSchedule, Sampler, ScheduleKind};
//! use rescore_kernels::{Activation, NoiseKey, Precision};
//! use rescore_nn::{Initializer, Shape};
//!
//! let (activation, initializer) = (Activation::Mish, Initializer::LecunNormal);
//! let trunk = Shape::Mlp { hidden_dims: vec![64, 64], activation, initializer };
//! let shape = DenoiserShape { observation_dim: 3, action_dim: 2, trunk };
//! let key = NoiseKey::new(0, "policy");
//! let policy = Denoiser::<Flex>::init(&shape, initializer, key, &FlexDevice);
//! // Four candidate actions for one observation, each denoised in twenty steps.
//! let schedule = NoiseSchedule::new(ScheduleKind::Cosine, 20, 1.0);
//! let sampler = Sampler::ddpm(&schedule, 1.0, Precision::F32);
//! let noise = sampler.noise(NoiseKey::new(0, "act"), 0);
//! let actions = sampler.sample(&policy, Tensor::zeros([1, 3], &FlexDevice), 4, &noise);
//! assert_eq!(actions.dims(), [1, 4, 2]);
//! ```

mod denoiser;
mod embedding;
mod integrator;
mod sampler;
mod schedule;
mod variance_preserving;

pub use denoiser::{Denoiser, DenoiserShape};
pub use embedding::{embed_times, time_embedding};
pub use integrator::Integrator;
pub use sampler::Sampler;
pub use schedule::{NoiseSchedule, ScheduleKind};
pub use variance_preserving::VariancePreserving;
