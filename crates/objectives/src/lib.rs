//! The losses of the project as pure functions: tensors in, tensors out; no I/O, no randomness of
//! their own (noise is an argument), no hidden state.
//!
//! * [`rsm`]: reweighted score matching (Ma et al. 2025), DPMD's and SDAC's.
//! * [`score`]: noise that follows from gradients of the critics, QSM's and iDEM's.
//! * [`ascent`]: actions that climb the critics, DIPO's.
//! * [`advantage`]: how much better the best of several actions is, QVPO's.
//! * [`expectile`]: expectiles and the choice that follows them, IDQL's.
//! * [`particles`]: weights of particles, and the step of their temperature.
//! * [`temperature`]: the temperature at which they have a given divergence.
//! * [`reverse`]: samples of the reverse kernel within the action bounds.
//! * [`td`]: temporal-difference targets and critic losses.
//! * [`entropy`]: what the temperature is driven by.
//! * [`gaussian`]: the squashed Gaussian of SAC.
//!
//! ```
//! use burn::{backend::{Flex, flex::FlexDevice}, tensor::Tensor};
//! use rescore_objectives::{particles::ParticleWeights, td::td_target};
//!
//! // Returns after a step that ended its episode and after one that did not.
//! let numbers = |values: [f32; 2]| Tensor::<Flex, 1>::from_data(values, &FlexDevice);
//! let target = td_target(numbers([1.0, 1.0]), numbers([1.0, 0.0]), numbers([10.0, 10.0]), 0.5);
//! assert_eq!(target.into_data().to_vec::<f32>()?, [1.0, 6.0]);
//!
//! // Of four scored actions fewer count at a low temperature.
//! let scores = Tensor::<Flex, 2>::from_data([[0.0, 1.0, 2.0, 3.0]], &FlexDevice);
//! let effective = |temperature: f32| {
//!     let temperature = Tensor::from_data([temperature], &FlexDevice);
//!     ParticleWeights::softmax(scores.clone(), temperature).effective.into_scalar()
//! };
//! assert!(effective(0.1) < 1.1 && effective(10.0) > 3.9);
//! # Ok::<(), burn::tensor::DataError>(())
//! ```

pub mod advantage;
pub mod ascent;
pub mod entropy;
pub mod expectile;
pub mod gaussian;
pub mod particles;
pub mod reverse;
pub mod rsm;
pub mod score;
pub mod td;
pub mod temperature;
