//! Diffusion policies: noise schedule, time embedding, denoiser and sampling.
//!
//! Notation (Ho, Jain and Abbeel 2020): `beta[t]` noise added at step `t`, `alpha = 1 - beta`,
//! `alpha_bar[t]` their cumulative product; `x_t = sqrt(alpha_bar[t]) x_0 + sqrt(1 - alpha_bar[t])
//! epsilon` is the noisy action; the denoiser predicts `epsilon` (`noise_pred`).

mod denoiser;
mod embedding;
mod sampler;
mod schedule;

pub use denoiser::{Denoiser, DenoiserShape};
pub use embedding::time_embedding;
pub use sampler::Sampler;
pub use schedule::{NoiseSchedule, ScheduleKind};
