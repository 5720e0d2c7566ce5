//! Does a model fit the task that it is to be used for?

use std::ffi::CStr;
use std::sync::Arc;

use mujoco_rs::mujoco_c::{mj_id2name, mjtState};
use mujoco_rs::prelude::{MjData, MjModel, MjtObjBase, MjtTrn};

use super::families::Data;
use crate::mujoco_table::{Family, MujocoSpec};

/// Positions, velocities and activations.
const PHYSICS: u32 = mjtState::mjSTATE_PHYSICS as u32;

/// An actuator that has moved nothing after so many simulator steps moves nothing.
const STEPS: usize = 100;

/// Numbers of generalised positions and velocities of the models that a family is made for.
fn sizes(family: Family) -> (usize, usize) {
    match family {
        Family::Ant => (15, 14),
        Family::HalfCheetah | Family::Walker2d => (9, 9),
        Family::Hopper => (6, 6),
        Family::Humanoid | Family::HumanoidStandup => (24, 23),
        Family::InvertedDoublePendulum => (3, 3),
        Family::InvertedPendulum => (2, 2),
        Family::Pusher => (11, 11),
        Family::Reacher => (4, 4),
        Family::Swimmer => (5, 5),
    }
}

/// Requires as many positions, velocities and actuators as the task has, and bounded actuators.
///
/// # Errors
/// What does not fit, with the name of the actuator.
pub(super) fn check(spec: &MujocoSpec, model: &MjModel) -> Result<(), String> {
    let (nq, nv) = sizes(spec.family);
    let ffi = model.ffi();
    let found = (ffi.nq as usize, ffi.nv as usize, ffi.nu as usize);
    let needed = (nq, nv, spec.entry.action_dim);
    if found != needed {
        return Err(format!(
            "it has {} positions, {} velocities and {} actuators{}, but the task needs {nq}, {nv} \
             and {}",
            found.0,
            found.1,
            found.2,
            names(model),
            needed.2,
        ));
    }
    let limited = model.actuator_ctrllimited();
    for (index, [low, high]) in model.actuator_ctrlrange().iter().enumerate() {
        let actuator = actuator(model, index);
        // Agents act in single precision.
        let bounds = [*low as f32, *high as f32];
        if bounds.iter().any(|bound| !bound.is_finite()) {
            return Err(format!(
                "{actuator} has the control range [{low}, {high}], but bounds must be finite"
            ));
        }
        if bounds[0] >= bounds[1] {
            return Err(format!(
                "{actuator} has the control range [{low}, {high}], so that actions would do \
                 nothing; give it a `ctrlrange`"
            ));
        }
        if !limited[index] {
            return Err(format!(
                "{actuator} has ctrllimited=\"false\", so that its control range [{low}, {high}] \
                 does not hold; actions need bounds"
            ));
        }
    }
    Ok(())
}

/// Requires that each actuator moves something: not so if its gear or its force is 0, or if
/// actuation is switched off.
///
/// # Errors
/// The actuator that does not, or that MuJoCo has no memory for the test.
pub(super) fn check_effects(model: &Arc<MjModel>) -> Result<(), String> {
    let mut data = MjData::try_new(model.clone()).map_err(|error| error.to_string())?;
    let bounds = model.actuator_ctrlrange();
    let centre = |data: &mut Data| {
        data.reset();
        for (control, [low, high]) in data.ctrl_mut().iter_mut().zip(bounds) {
            *control = 0.5 * (low + high);
        }
    };
    centre(&mut data);
    // With all controls in the middle; as far as was needed.
    let mut undisturbed = Vec::new();
    let mut other = MjData::try_new(model.clone()).map_err(|error| error.to_string())?;
    for (index, [_, high]) in bounds.iter().enumerate() {
        centre(&mut other);
        other.ctrl_mut()[index] = *high;
        let moves = (0..STEPS).any(|step| {
            if undisturbed.len() == step {
                data.step();
                undisturbed.push(data.state(PHYSICS));
            }
            other.step();
            // Where it diverges it has been reset, and is where it was.
            let diverged = other.warning().iter().any(|counter| counter.number > 0);
            diverged || other.state(PHYSICS) != undisturbed[step]
        });
        if !moves {
            return Err(format!(
                "{} moves nothing (is its gear, its gain or its force range 0, or actuation \
                 disabled?)",
                actuator(model, index)
            ));
        }
    }
    Ok(())
}

/// An actuator in words: its number, and its name or that of its joint.
fn actuator(model: &MjModel, index: usize) -> String {
    if let Some(name) = name(model, MjtObjBase::mjOBJ_ACTUATOR, index) {
        return format!("actuator {index} (`{name}`)");
    }
    let of_joint = model.actuator_trntype().get(index) == Some(&MjtTrn::mjTRN_JOINT);
    let joint = of_joint.then(|| model.actuator_trnid()[index][0] as usize);
    match joint.and_then(|joint| name(model, MjtObjBase::mjOBJ_JOINT, joint)) {
        Some(joint) => format!("actuator {index} (of joint `{joint}`)"),
        None => format!("actuator {index}"),
    }
}

/// The actuators' names in brackets, where they have some.
fn names(model: &MjModel) -> String {
    let shown: Vec<_> = (0..model.ffi().nactuator as usize)
        .map(|index| actuator(model, index).replacen("actuator ", "", 1))
        .collect();
    if shown.is_empty() {
        String::new()
    } else {
        format!(" [{}]", shown.join(", "))
    }
}

fn name(model: &MjModel, kind: MjtObjBase, index: usize) -> Option<String> {
    // SAFETY: the model is alive, and the function gives null for a number that does not exist,
    // otherwise a NUL-terminated string within the model. (The bindings' function of this name
    // panics at names that are not UTF-8.)
    unsafe {
        let name = mj_id2name(model.ffi(), kind as i32, index as i32);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}
