//! rescore-diffusion
