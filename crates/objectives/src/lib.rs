//! The losses of the project as pure functions: tensors in, tensors out; no I/O, no randomness of
//! their own (noise is an argument), no hidden state.
//!
//! * [`rsm`]: reweighted score matching (Ma et al. 2025), DPMD's and SDAC's.
//! * [`particles`]: weights of particles, and their temperature.
//! * [`reverse`]: samples of the reverse kernel within the action bounds.
//! * [`td`]: temporal-difference targets and critic losses.
//! * [`entropy`]: what the temperature is driven by.
//! * [`gaussian`]: the squashed Gaussian of SAC.

pub mod entropy;
pub mod gaussian;
pub mod particles;
pub mod reverse;
pub mod rsm;
pub mod td;
