//! What was learned as named arrays, independent of any backend or file format.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use thiserror::Error;

use crate::{Adam, Role, TensorAdam, Tree, leaves};

/// One array of a [`StateDict`].
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// `f32` values in row-major order with their shape.
    F32(Vec<usize>, Vec<f32>),
    /// An unsigned counter, shape `[1]`.
    U64(u64),
}

/// Named arrays in alphabetical order. Names are paths: `actor.policy.l0.weight`,
/// `critic.optimizer.mu.l0.weight`, `temperature.log_value`.
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

/// Adding to and taking from a state by the names of a tree's leaves.
impl StateDict {
    /// Adds all leaves of `tree` under names that begin with `prefix` and a dot.
    pub fn insert_tree<B: Backend, N: Tree<B>>(&mut self, prefix: &str, tree: &N) {
        for (name, _, tensor) in leaves(tree) {
            self.insert_tensor(format!("{prefix}.{name}"), &tensor);
        }
    }

    /// A tree of the shape of `like` from the arrays that [`StateDict::insert_tree`] added.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn tree<B: Backend, N>(&self, prefix: &str, like: &N) -> Result<N, StateError>
    where
        N: Tree<B, On<B> = N>,
    {
        self.part_of(prefix, like, |_| true)
    }

    /// As [`StateDict::tree`], with the tensors of `like` where `wanted` says no of a role.
    fn part_of<B: Backend, N>(
        &self,
        prefix: &str,
        like: &N,
        wanted: fn(Role) -> bool,
    ) -> Result<N, StateError>
    where
        N: Tree<B, On<B> = N>,
    {
        let mut error = None;
        let loaded = like.map::<B>(&format!("{prefix}."), &mut |leaf, tensor| {
            if !wanted(leaf.role) {
                return tensor.clone();
            }
            self.tensor(leaf.name, tensor.dims(), &tensor.device())
                .unwrap_or_else(|found| {
                    error.get_or_insert(found);
                    tensor.clone()
                })
        });
        error.map_or(Ok(loaded), Err)
    }

    /// Adds the moments of the trained leaves and the steps of an optimiser as `prefix.mu`,
    /// `prefix.nu` and `prefix.count`.
    pub fn insert_adam<B: Backend, N: Tree<B>>(&mut self, prefix: &str, optimizer: &Adam<N>) {
        for (moment, tree) in [("mu", &optimizer.mu), ("nu", &optimizer.nu)] {
            for (name, role, tensor) in leaves(tree) {
                if role.is_trained() {
                    self.insert_tensor(format!("{prefix}.{moment}.{name}"), &tensor);
                }
            }
        }
        self.insert(format!("{prefix}.count"), Array::U64(optimizer.count));
    }

    /// The optimiser `like` with what [`StateDict::insert_adam`] added.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn adam<B: Backend, N>(&self, prefix: &str, like: &Adam<N>) -> Result<Adam<N>, StateError>
    where
        N: Tree<B, On<B> = N>,
    {
        let moment = |name: &str, like: &N| {
            self.part_of(&format!("{prefix}.{name}"), like, Role::is_trained)
        };
        let mut adam = like.clone();
        adam.count = self.counter(&format!("{prefix}.count"))?;
        adam.mu = moment("mu", &like.mu)?;
        adam.nu = moment("nu", &like.nu)?;
        Ok(adam)
    }

    /// Adds the state of an optimiser of one tensor.
    pub fn insert_tensor_adam<B: Backend, const D: usize>(
        &mut self,
        prefix: &str,
        optimizer: &TensorAdam<B, D>,
    ) {
        self.insert_tensor(format!("{prefix}.mu"), &optimizer.mu);
        self.insert_tensor(format!("{prefix}.nu"), &optimizer.nu);
        self.insert(format!("{prefix}.count"), Array::U64(optimizer.count));
    }

    /// The optimiser `like` with what [`StateDict::insert_tensor_adam`] added.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn tensor_adam<B: Backend, const D: usize>(
        &self,
        prefix: &str,
        like: &TensorAdam<B, D>,
    ) -> Result<TensorAdam<B, D>, StateError> {
        let moment = |name: &str, like: &Tensor<B, D>| {
            self.tensor(&format!("{prefix}.{name}"), like.dims(), &like.device())
        };
        let mut adam = like.clone();
        adam.count = self.counter(&format!("{prefix}.count"))?;
        adam.mu = moment("mu", &like.mu)?;
        adam.nu = moment("nu", &like.nu)?;
        Ok(adam)
    }
}
