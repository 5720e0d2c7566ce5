//! What the settings of an algorithm are.

use std::fmt;

use rescore_kernels::RescoreBackend;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Agent, Outline, RangeCheck, Setup};

/// The settings of an algorithm: what a configuration holds in `[agent]`, and how an agent is made
/// of it. Keys and their documentation are taken from the struct.
pub trait Settings:
    Serialize + DeserializeOwned + JsonSchema + Clone + fmt::Debug + Send + Sync + 'static
{
    /// Checks that every value is in its range; nothing is checked where an algorithm leaves it out.
    fn check(&self, check: RangeCheck) -> RangeCheck {
        check
    }

    /// What the training loop asks: the discount and, for estimates, sizes.
    fn outline(&self) -> Outline;

    /// A fresh agent.
    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>>;
}
