//! Pictures of MuJoCo tasks, drawn off screen (cargo feature `render`).
//!
//! Drawing goes through EGL and needs no display: Mesa's software driver will do.

use std::collections::BTreeMap;

use mujoco_rs::prelude::{MjModel, MjtObjBase, MjvCamera};
use mujoco_rs::renderer::MjRenderer;

use super::MujocoTask;
use crate::mujoco_table::Family;
use crate::{EnvError, EnvState, OptionValue, StateError, Task as _};

/// The camera that Gymnasium looks through where a model has one of this name.
const DEFAULT_CAMERA: &str = "track";

/// The most pixels of a side. Sixteen million pixels with the models' four samples each take half a
/// gigabyte, and MuJoCo ends the process where a driver refuses them.
const MOST_PIXELS: u32 = 4096;

/// What makes drawing off screen work on Debian and its relatives.
const PACKAGES: &str = "libegl1 libegl-mesa0 libgl1-mesa-dri";

/// Draws the states of environments of one task.
///
/// It has a simulator of its own, which takes over the states it is given, so drawing never
/// touches the environment that is drawn.
pub struct Renderer {
    // Dropped before the simulator whose model it has a view of.
    renderer: MjRenderer,
    task: MujocoTask,
}

impl Renderer {
    /// A renderer of frames of `width` times `height` pixels, each from 1 to 4096, for the registered task `name` with
    /// `options`. `camera` is the name of one of the model's cameras; without it, Gymnasium's
    /// default is taken.
    ///
    /// # Errors
    /// As [`MujocoTask::with_options`], [`EnvError::Rendering`] if there is no way to draw, and
    /// [`EnvError::InvalidArgument`] for a camera that does not exist or a size out of its range.
    pub fn new(
        name: &str,
        options: &BTreeMap<String, OptionValue>,
        (width, height): (u32, u32),
        camera: Option<&str>,
    ) -> Result<Self, EnvError> {
        let task = MujocoTask::with_options(name, options)?;
        let model = task.model();
        let sides = 1..=MOST_PIXELS;
        if !(sides.contains(&width) && sides.contains(&height)) {
            return Err(EnvError::InvalidArgument(format!(
                "frames of {width}x{height} pixels cannot be drawn, only of 1x1 to \
                 {MOST_PIXELS}x{MOST_PIXELS}"
            )));
        }
        let camera = match camera {
            Some(camera) => named_camera(model, camera).ok_or_else(|| no_camera(model, camera))?,
            None => named_camera(model, DEFAULT_CAMERA)
                .unwrap_or_else(|| free_camera(model, task.family())),
        };
        // The simulator's model is shared; this one only says how large the picture may be.
        let mut large = model.clone();
        let most = &mut large.vis_mut().global;
        most.offwidth = most.offwidth.max(width as i32);
        most.offheight = most.offheight.max(height as i32);
        let renderer = MjRenderer::builder()
            .width(width)
            .height(height)
            .rgb(true)
            .camera(camera)
            .build(&large)
            .map_err(|error| failed(&error))?;
        Ok(Self { renderer, task })
    }

    /// Seconds per environment step.
    pub fn dt(&self) -> f64 {
        self.task.model_facts().dt
    }

    /// Draws a state that an environment of this task has saved: `[height, width, 3]` bytes, red,
    /// green and blue, from the upper left corner on.
    ///
    /// # Errors
    /// [`EnvError::InvalidState`] if it is the state of another task, [`EnvError::Rendering`] if
    /// drawing fails.
    pub fn frame(&mut self, state: &EnvState) -> Result<&[u8], EnvError> {
        let inside = state
            .arrays()
            .find_map(|(name, _)| name.strip_suffix(".integration"))
            .ok_or_else(|| StateError::Missing("integration".to_owned()))?;
        self.task.restore(&state.state(inside))?;
        let data = self.task.data_mut();
        // Positions of bodies are not part of the state.
        data.forward();
        self.renderer.sync_data(data).map_err(|e| failed(&e))?;
        self.renderer.render().map_err(|e| failed(&e))?;
        self.renderer
            .rgb_flat()
            .ok_or_else(|| EnvError::Rendering("there is no picture".to_owned()))
    }
}

fn named_camera(model: &MjModel, name: &str) -> Option<MjvCamera> {
    if name.contains('\0') {
        return None;
    }
    let id = model.name_to_id(MjtObjBase::mjOBJ_CAMERA, name)?;
    Some(MjvCamera::new_fixed(id))
}

/// Where Gymnasium puts the camera for models that have none.
fn free_camera(model: &MjModel, family: Family) -> MjvCamera {
    let mut camera = MjvCamera::new_free(model);
    match family {
        Family::InvertedPendulum => camera.distance = 2.04,
        Family::InvertedDoublePendulum => {
            camera.distance = 4.1225;
            camera.lookat = [0.0, 0.0, 0.1225];
        }
        Family::Pusher => camera.distance = 4.0,
        _ => {}
    }
    camera
}

fn no_camera(model: &MjModel, wanted: &str) -> EnvError {
    let count = model.ffi().ncam as usize;
    let names: Vec<_> = (0..count)
        .filter_map(|id| model.id_to_name(MjtObjBase::mjOBJ_CAMERA, id))
        .collect();
    let there = if names.is_empty() {
        "the model has none; leave it out".to_owned()
    } else {
        format!("there are: {}", names.join(", "))
    };
    EnvError::InvalidArgument(format!("there is no camera `{wanted}`; {there}"))
}

/// The whole chain of causes, and what can be done.
fn failed(error: &dyn std::error::Error) -> EnvError {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    EnvError::Rendering(format!(
        "{message}. Drawing off screen needs EGL and a driver, of which Mesa's in software is one; \
         on Debian and Ubuntu they are in the packages {PACKAGES}"
    ))
}
