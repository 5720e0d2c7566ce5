//! What a critic's outputs say of the return: its expectation, or its distribution over atoms.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use rescore_kernels::categorical::{self, Atoms, expectation};
use rescore_kernels::{Combine, RescoreBackend};
use thiserror::Error;

/// Why critics cannot be as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum CriticsError {
    /// An ensemble of none.
    #[error("an ensemble needs at least one critic, not 0")]
    NoMembers,
    /// A distribution over one atom, or none.
    #[error("a distribution over returns needs at least two atoms, not {0}")]
    TooFewAtoms(usize),
    /// A support that is no interval.
    #[error(
        "the support of returns must go from a number to a greater one, not from {low} to {high}"
    )]
    EmptySupport {
        /// Its lower end.
        low: f64,
        /// Its upper end.
        high: f64,
    },
}

/// What a critic's outputs are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Head {
    /// One output, the value.
    Scalar,
    /// An output for each atom of a support: the logits of a distribution over returns, whose
    /// expectation is the value (Bellemare, Dabney and Munos 2017, C51).
    Categorical(Support),
}

impl Head {
    /// How many outputs a critic has.
    pub const fn outputs(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::Categorical(support) => support.atoms,
        }
    }

    /// Where the atoms are, as kernels take it; none of one value.
    pub(crate) fn atoms(self) -> Option<Atoms> {
        match self {
            Self::Scalar => None,
            Self::Categorical(support) => Some(support.places()),
        }
    }

    /// Values `[members, batch]` of outputs `[members, batch, outputs]`; differentiable.
    pub fn values<B: RescoreBackend>(self, outputs: Tensor<B, 3>) -> Tensor<B, 2> {
        match self {
            Self::Scalar => outputs.squeeze_dim(2),
            Self::Categorical(support) => expectation(outputs, support.places()),
        }
    }
}

/// Atoms at equal distances from one return to another, both included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Support {
    low: f64,
    high: f64,
    atoms: usize,
}

impl Support {
    /// `atoms` atoms from `low` to `high`.
    ///
    /// # Errors
    /// [`CriticsError`] with fewer than two atoms, or if `low` is not below `high`, or one of them
    /// not finite.
    pub fn new([low, high]: [f64; 2], atoms: usize) -> Result<Self, CriticsError> {
        if atoms < 2 {
            return Err(CriticsError::TooFewAtoms(atoms));
        }
        if !(low < high && (high - low).is_finite()) {
            return Err(CriticsError::EmptySupport { low, high });
        }
        Ok(Self { low, high, atoms })
    }

    /// How many atoms there are.
    pub const fn atoms(self) -> usize {
        self.atoms
    }

    /// The first and the last atom.
    pub const fn bounds(self) -> [f64; 2] {
        [self.low, self.high]
    }

    /// Distance of two atoms.
    fn spacing(self) -> f64 {
        (self.high - self.low) / (self.atoms - 1) as f64
    }

    /// Where the atoms are, as kernels take it.
    pub fn places(self) -> Atoms {
        Atoms {
            low: self.low,
            spacing: self.spacing(),
        }
    }

    /// Where the atoms are, `[atoms]`.
    pub fn locations<B: Backend>(self, device: &B::Device) -> Tensor<B, 1> {
        let location = |atom| self.places().location(atom);
        let locations: Vec<f32> = (0..self.atoms).map(location).collect();
        Tensor::from_data(TensorData::new(locations, [self.atoms]), device)
    }

    /// Expectations `[members, batch]` of distributions `[members, batch, atoms]`.
    pub fn expectation<B: Backend>(self, probabilities: Tensor<B, 3>) -> Tensor<B, 2> {
        let locations = self.locations(&probabilities.device());
        (probabilities * locations.unsqueeze())
            .sum_dim(2)
            .squeeze_dim(2)
    }

    /// The member whose distribution of each row has the smallest expectation, of equal ones the
    /// first: `[batch]` for `[members, batch, atoms]`.
    pub fn lowest_member<B: Backend>(self, probabilities: Tensor<B, 3>) -> Tensor<B, 1, Int> {
        categorical::lowest_member(self.places(), probabilities)
    }

    /// One distribution for each row, `[batch, atoms]`, of those of all members, `[members, batch,
    /// atoms]`: that with the smallest expectation, or the mean of all.
    pub fn combined<B: Backend>(
        self,
        combine: Combine,
        probabilities: Tensor<B, 3>,
    ) -> Tensor<B, 2> {
        categorical::combined(self.places(), combine, probabilities)
    }

    /// Distributions over returns at any place as distributions over the atoms: each probability
    /// goes to the two atoms beside its return, more of it to the nearer (Bellemare, Dabney and Munos
    /// 2017, equation 7). Returns beyond the support go to its ends.
    ///
    /// `probabilities` and `returns` `[batch, n]`, result `[batch, atoms]` with the same sums.
    pub fn project<B: Backend>(
        self,
        probabilities: Tensor<B, 2>,
        returns: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        categorical::project(self.places(), self.atoms, probabilities, returns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_support_is_an_interval_of_two_atoms_or_more() {
        assert!(Support::new([-1.0, 1.0], 2).is_ok());
        assert_eq!(
            Support::new([-1.0, 1.0], 1),
            Err(CriticsError::TooFewAtoms(1))
        );
        for [low, high] in [
            [1.0, 1.0],
            [2.0, 1.0],
            [0.0, f64::INFINITY],
            [f64::NAN, 1.0],
        ] {
            let error = Support::new([low, high], 5);
            assert!(
                matches!(error, Err(CriticsError::EmptySupport { .. })),
                "{low} to {high}"
            );
        }
    }
}
