//! The learned state of an agent as named arrays, independent of any backend or file format.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use rescore_kernels::{Linear, Parameters, adam::Adam};
use rescore_objectives::rsm::QStatistics;
use thiserror::Error;

/// One array of a [`StateDict`].
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// `f32` values in row-major order with their shape.
    F32(Vec<usize>, Vec<f32>),
    /// An unsigned counter, shape `[1]`.
    U64(u64),
}

/// Named arrays in alphabetical order. Names are paths: `policy.l0.weight`,
/// `critic_optimizer.mu.q1.l0.weight`, `temperature.log_value`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StateDict {
    arrays: BTreeMap<String, Array>,
}

/// Why a state could not be restored.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StateError {
    /// An array that the agent needs is not in the state.
    #[error("tensor `{0}` is missing")]
    Missing(String),
    /// The array has another shape or kind than the agent's configuration asks for.
    #[error("tensor `{name}` has shape {found:?}, but this agent needs {expected:?}")]
    Shape {
        /// Name of the array.
        name: String,
        /// Shape in the state.
        found: Vec<usize>,
        /// Shape that the agent's configuration and the environment's dimensions ask for.
        expected: Vec<usize>,
    },
    /// The state holds an array that the agent does not know.
    #[error("tensor `{0}` is not part of this agent")]
    Unknown(String),
}

impl StateDict {
    /// Adds or replaces an array.
    pub fn insert(&mut self, name: impl Into<String>, array: Array) {
        self.arrays.insert(name.into(), array);
    }

    /// Adds or replaces a tensor, read back from its device.
    pub fn insert_tensor<B: Backend, const D: usize>(
        &mut self,
        name: impl Into<String>,
        tensor: &Tensor<B, D>,
    ) {
        let shape = tensor.dims().to_vec();
        let values = tensor
            .to_data()
            .convert::<f32>()
            .into_vec()
            .unwrap_or_default();
        self.insert(name, Array::F32(shape, values));
    }

    /// The array called `name`.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.arrays.get(name)
    }

    /// All arrays in alphabetical order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.arrays
            .iter()
            .map(|(name, array)| (name.as_str(), array))
    }

    /// All arrays with their names, in alphabetical order.
    pub fn into_arrays(self) -> impl Iterator<Item = (String, Array)> {
        self.arrays.into_iter()
    }

    /// The counter called `name`.
    ///
    /// # Errors
    /// When there is no such counter.
    pub fn counter(&self, name: &str) -> Result<u64, StateError> {
        match self.arrays.get(name) {
            Some(Array::U64(value)) => Ok(*value),
            Some(Array::F32(shape, _)) => Err(StateError::Shape {
                name: name.to_owned(),
                found: shape.clone(),
                expected: vec![1],
            }),
            None => Err(StateError::Missing(name.to_owned())),
        }
    }

    /// The tensor called `name`, which must have the shape `expected`.
    ///
    /// # Errors
    /// When there is no such tensor or its shape differs.
    pub fn tensor<B: Backend, const D: usize>(
        &self,
        name: &str,
        expected: [usize; D],
        device: &B::Device,
    ) -> Result<Tensor<B, D>, StateError> {
        match self.arrays.get(name) {
            Some(Array::F32(shape, values)) if shape[..] == expected => Ok(Tensor::from_data(
                TensorData::new(values.clone(), expected),
                device,
            )),
            Some(Array::F32(shape, _)) => Err(StateError::Shape {
                name: name.to_owned(),
                found: shape.clone(),
                expected: expected.to_vec(),
            }),
            Some(Array::U64(_)) => Err(StateError::Shape {
                name: name.to_owned(),
                found: vec![1],
                expected: expected.to_vec(),
            }),
            None => Err(StateError::Missing(name.to_owned())),
        }
    }
}

impl StateDict {
    /// Requires that `self` holds no name that `expected` has not.
    ///
    /// # Errors
    /// When `self` has an array that `expected` has not.
    pub fn check_names(&self, expected: &Self) -> Result<(), StateError> {
        match self
            .arrays
            .keys()
            .find(|name| !expected.arrays.contains_key(*name))
        {
            Some(name) => Err(StateError::Unknown(name.clone())),
            None => Ok(()),
        }
    }
}

/// Adds all layers of `network` as `prefix.<layer>.weight` and `prefix.<layer>.bias`.
pub(crate) fn save_network<B: Backend, N: Parameters<B>>(
    state: &mut StateDict,
    prefix: &str,
    network: &N,
) {
    for (name, layer) in network.layers() {
        state.insert_tensor(format!("{prefix}.{name}.weight"), &layer.weight);
        state.insert_tensor(format!("{prefix}.{name}.bias"), &layer.bias);
    }
}

/// A network of the shape of `like` from the arrays that [`save_network`] wrote under `prefix`.
pub(crate) fn load_network<B: Backend, N>(
    state: &StateDict,
    prefix: &str,
    like: &N,
    device: &B::Device,
) -> Result<N, StateError>
where
    N: Parameters<B, On<B> = N>,
{
    let mut error = None;
    let loaded = like.map(&mut |name, layer| {
        let weight = state.tensor(
            &format!("{prefix}.{name}.weight"),
            layer.weight.dims(),
            device,
        );
        let bias = state.tensor(&format!("{prefix}.{name}.bias"), layer.bias.dims(), device);
        match (weight, bias) {
            (Ok(weight), Ok(bias)) => Linear { weight, bias },
            (Err(e), _) | (_, Err(e)) => {
                error.get_or_insert(e);
                layer.clone()
            }
        }
    });
    error.map_or(Ok(loaded), Err)
}

/// Adds the moments and the steps of an optimiser as `prefix.mu`, `prefix.nu` and `prefix.count`.
pub(crate) fn save_optimizer<B: Backend, N: Parameters<B>>(
    state: &mut StateDict,
    prefix: &str,
    optimizer: &Adam<N>,
) {
    save_network(state, &format!("{prefix}.mu"), &optimizer.mu);
    save_network(state, &format!("{prefix}.nu"), &optimizer.nu);
    state.insert(format!("{prefix}.count"), Array::U64(optimizer.count));
}

/// The optimiser of a network of the shape of `like` from what [`save_optimizer`] wrote under
/// `prefix`.
pub(crate) fn load_optimizer<B: Backend, N>(
    state: &StateDict,
    prefix: &str,
    like: &N,
    device: &B::Device,
) -> Result<Adam<N>, StateError>
where
    N: Parameters<B, On<B> = N>,
{
    Ok(Adam {
        count: state.counter(&format!("{prefix}.count"))?,
        mu: load_network(state, &format!("{prefix}.mu"), like, device)?,
        nu: load_network(state, &format!("{prefix}.nu"), like, device)?,
    })
}

/// Adds the running statistics of Q.
pub(crate) fn save_statistics<B: Backend>(state: &mut StateDict, statistics: &QStatistics<B>) {
    state.insert_tensor("q_statistics.mean", &statistics.mean);
    state.insert_tensor("q_statistics.std", &statistics.std);
}

/// What [`save_statistics`] wrote.
pub(crate) fn load_statistics<B: Backend>(
    state: &StateDict,
    device: &B::Device,
) -> Result<QStatistics<B>, StateError> {
    Ok(QStatistics {
        mean: state.tensor("q_statistics.mean", [1], device)?,
        std: state.tensor("q_statistics.std", [1], device)?,
    })
}
