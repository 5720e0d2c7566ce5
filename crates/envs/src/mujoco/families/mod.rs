//! The dynamics of each family of tasks: what is observed, what is rewarded, what ends an episode.
//!
//! Every formula is Gymnasium's, in its order of operations and its precision, because contacts
//! amplify a difference in the last bit. The sources are `envs/mujoco/*_v4.py` and `*_v5.py`.

mod ant;
mod dynamics;
mod half_cheetah;
mod humanoid;
mod humanoid_standup;
mod inverted_double_pendulum;
mod inverted_pendulum;
mod numpy;
mod planar_walker;
mod pusher;
mod reacher;
mod swimmer;

use mujoco_rs::prelude::MjModel;

use crate::TaskOptions;
use crate::mujoco_table::{Family, Version};

pub(super) use dynamics::{Data, Dynamics, StepView};
pub(super) use pusher::repair as repair_pusher;

/// The dynamics of a family with `options`, on `model`, whose sizes have been checked.
///
/// # Errors
/// What the model lacks that the family needs.
pub(super) fn dynamics(
    family: Family,
    version: Version,
    options: &TaskOptions,
    model: &MjModel,
) -> Result<Box<dyn Dynamics>, String> {
    Ok(match family {
        Family::Ant => Box::new(ant::Ant::new(version, options, model)?),
        Family::HalfCheetah => Box::new(half_cheetah::HalfCheetah::new(version, options)),
        Family::Hopper | Family::Walker2d => Box::new(planar_walker::PlanarWalker::new(
            family, version, options, model,
        )),
        Family::Humanoid => Box::new(humanoid::Humanoid::new(version, options, model)),
        Family::HumanoidStandup => Box::new(humanoid_standup::HumanoidStandup::new(
            version, options, model,
        )),
        Family::InvertedDoublePendulum => Box::new(
            inverted_double_pendulum::InvertedDoublePendulum::new(version, options, model)?,
        ),
        Family::InvertedPendulum => {
            Box::new(inverted_pendulum::InvertedPendulum::new(version, options))
        }
        Family::Pusher => Box::new(pusher::Pusher::new(version, options, model)?),
        Family::Reacher => Box::new(reacher::Reacher::new(version, options, model)?),
        Family::Swimmer => Box::new(swimmer::Swimmer::new(version, options)),
    })
}
