//! The losses of the project as pure functions: tensors in, tensors out; no I/O, no randomness of
//! their own (noise is an argument), no hidden state.
//!
//! * [`rsm`]: reweighted score matching (Ma et al. 2025), DPMD's and SDAC's.
//! * [`td`]: temporal-difference targets and critic losses.
//! * [`entropy`]: what the temperature is driven by.
//! * [`gaussian`]: the squashed Gaussian of SAC.

pub mod entropy;
pub mod gaussian;
pub mod rsm;
pub mod td;
