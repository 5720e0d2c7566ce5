//! The mechanics that all MuJoCo tasks share.

use std::collections::BTreeMap;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use mujoco_rs::mujoco_c::mjtState;
use mujoco_rs::prelude::MjData;

use super::families::{Data, Dynamics, StepView, dynamics};
use super::fit;
use super::library::{Variant, load_model};
use super::models::{model_names, model_xml};
use super::pinned::pinned;
use crate::env::check_action_length;
use crate::error::nearest;
use crate::mujoco_table::{Family, MUJOCO_TASKS, MujocoSpec};
use crate::{
    EnvError, EnvRng, EnvState, Info, OptionValue, Outcome, Space, StateError, Task, TaskOptions,
};

/// What makes `xml_file` a path; without, it is the name of one of the task models.
const SEPARATORS: [char; 2] = ['/', MAIN_SEPARATOR];

/// No task tells more quantities of a step than this.
const MOST_INFO: usize = 16;

/// MuJoCo's warnings, in the order of `mjtWarning`.
const WARNINGS: [&str; 7] = [
    "INERTIA (the inertia matrix is nearly singular)",
    "CONTACTFULL (too many contacts for the simulator's memory)",
    "CNSTRFULL (too many constraints for the simulator's memory)",
    "BADQPOS (a position is NaN, infinite or huge)",
    "BADQVEL (a velocity is NaN, infinite or huge)",
    "BADQACC (an acceleration is NaN, infinite or huge)",
    "BADCTRL (a control is NaN, infinite or huge)",
];

/// Everything that MuJoCo needs to go on from a state to the bit.
const INTEGRATION_STATE: u32 = mjtState::mjSTATE_INTEGRATION as u32;

/// A MuJoCo task: the simulator with one task's observation, reward and termination.
///
/// It can be stepped past termination, and its state can be set. Out-of-range actions reach the
/// simulator, which clamps the controls, while costs in the reward see them as given; both are
/// what Gymnasium does.
pub struct MujocoTask {
    spec: &'static MujocoSpec,
    path: PathBuf,
    dynamics: Box<dyn Dynamics>,
    data: Data,
    frame_skip: u32,
    dt: f64,
    /// Of the last step: how many, and which was the first.
    warnings: u32,
    warning: Option<&'static str>,
    observation_space: Space,
    action_space: Space,
    observation: Vec<f64>,
    /// [`Dynamics::before`] of the next step. Kept, because the simulator's derived quantities lag
    /// behind its state, so that they are others after that state has been restored.
    before: [f64; 2],
    info: Vec<Info>,
}

/// Numbers of a task's model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFacts {
    /// Number of generalised positions.
    pub nq: usize,
    /// Number of generalised velocities.
    pub nv: usize,
    /// Number of actuators: the action dimension.
    pub nu: usize,
    /// Number of bodies, world included.
    pub nbody: usize,
    /// Seconds per simulator step.
    pub timestep: f64,
    /// MuJoCo's number of the integrator (0 Euler, 1 fourth-order Runge-Kutta).
    pub integrator: i32,
    /// Simulator steps per environment step.
    pub frame_skip: u32,
    /// Seconds per environment step.
    pub dt: f64,
    /// The model's own initial positions, `[nq]`.
    pub initial_qpos: Vec<f64>,
}

impl MujocoTask {
    /// The registered MuJoCo task `name` with default options, in its model's initial state.
    ///
    /// # Errors
    /// As [`MujocoTask::with_options`].
    pub fn new(name: &str) -> Result<Self, EnvError> {
        Self::with_options(name, &BTreeMap::new())
    }

    /// The registered MuJoCo task `name` with some [`TaskEntry::options`](crate::TaskEntry)
    /// changed, in its model's initial state.
    ///
    /// # Errors
    /// [`EnvError::UnknownTask`] (also for a task that is not one of MuJoCo's),
    /// [`EnvError::UnknownOption`], [`EnvError::InvalidOption`], [`EnvError::MujocoVersion`],
    /// [`EnvError::InvalidModel`] if the model does not load, or [`EnvError::UnfitModel`] if it
    /// does not have what the task needs.
    pub fn with_options(
        name: &str,
        options: &BTreeMap<String, OptionValue>,
    ) -> Result<Self, EnvError> {
        let names = || MUJOCO_TASKS.iter().map(|spec| spec.entry.name);
        let spec = MUJOCO_TASKS
            .iter()
            .find(|spec| spec.entry.name == name)
            .ok_or_else(|| EnvError::UnknownTask {
                name: name.to_owned(),
                suggestion: nearest(name, names()),
            })?;
        let options = TaskOptions::resolve(name, spec.entry.options, options)?;
        Self::with_spec(spec, &options)
    }

    /// As [`MujocoTask::with_options`], of a row of the table.
    pub(crate) fn with_spec(
        spec: &'static MujocoSpec,
        options: &TaskOptions,
    ) -> Result<Self, EnvError> {
        let file = options.text("xml_file");
        if model_xml(file).is_none() && !file.contains(SEPARATORS) {
            let names: Vec<_> = model_names().collect();
            return Err(EnvError::InvalidOption {
                task: spec.entry.name.to_owned(),
                name: "xml_file".to_owned(),
                value: format!("{file:?}"),
                expected: format!(
                    "the path of a file, with a separator, such as ./my_model.xml, or one of {}",
                    names.join(", ")
                ),
            });
        }
        Self::with_model(spec, options, Path::new(file))
    }

    fn with_model(
        spec: &'static MujocoSpec,
        options: &TaskOptions,
        path: &Path,
    ) -> Result<Self, EnvError> {
        let invalid = |reason| EnvError::InvalidModel {
            path: path.to_owned(),
            reason,
        };
        let variant = if options.has("repair_object") && options.flag("repair_object") {
            Variant::RepairedPusher
        } else {
            Variant::AsWritten
        };
        let unfit = |reason| EnvError::UnfitModel {
            path: path.to_owned(),
            task: spec.entry.name.to_owned(),
            reason,
        };
        let own = options.text("xml_file").contains(SEPARATORS);
        let model = match pinned(path) {
            Some(model) => model,
            // A pipe would never end, and a device be read into memory.
            None if own && path.exists() && !path.is_file() => {
                return Err(invalid("it is not a file".to_owned()));
            }
            None => load_model(path, variant)?,
        };
        fit::check(spec, &model).map_err(unfit)?;
        if own {
            fit::check_effects(&model).map_err(unfit)?;
        }
        let dynamics = dynamics(spec.family, spec.version, options, &model).map_err(unfit)?;
        let bounds = model.actuator_ctrlrange();
        let action_space = Space::new(
            bounds
                .iter()
                .map(|[low, _]| f64::from(*low as f32))
                .collect(),
            bounds
                .iter()
                .map(|[_, high]| f64::from(*high as f32))
                .collect(),
        )
        .map_err(|e| invalid(e.to_string()))?;
        let data = MjData::try_new(model.clone()).map_err(|e| invalid(e.to_string()))?;
        // Checked to be from 1 to 1000.
        let frame_skip = options.integer("frame_skip") as u32;
        let mut this = Self {
            spec,
            dynamics,
            frame_skip,
            dt: model.opt().timestep * f64::from(frame_skip),
            warnings: 0,
            warning: None,
            // Replaced below, when the number of values is known.
            observation_space: action_space.clone(),
            action_space,
            observation: Vec::new(),
            before: [0.0; 2],
            info: Vec::with_capacity(MOST_INFO),
            data,
            path: path.to_owned(),
        };
        this.data.forward();
        this.observe();
        let dims = (this.observation.len(), this.action_space.dim());
        let registered = (spec.entry.observation_dim, spec.entry.action_dim);
        if options.are_defaults() && dims != registered {
            return Err(unfit(format!(
                "it gives {} observation and {} action values where `{}` has {} and {}",
                dims.0, dims.1, spec.entry.name, registered.0, registered.1
            )));
        }
        this.observation_space = Space::uniform(dims.0, f64::NEG_INFINITY, f64::INFINITY)?;
        Ok(this)
    }

    /// The model file in use: the path of a user's own, else the name for
    /// [`model_xml`](super::model_xml).
    pub fn model_file(&self) -> &Path {
        &self.path
    }

    /// Numbers of the model.
    pub fn model_facts(&self) -> ModelFacts {
        let model = self.data.model();
        let sizes = model.ffi();
        ModelFacts {
            nq: sizes.nq as usize,
            nv: sizes.nv as usize,
            nu: sizes.nu as usize,
            nbody: sizes.nbody as usize,
            timestep: model.opt().timestep,
            integrator: model.opt().integrator,
            frame_skip: self.frame_skip,
            dt: self.dt,
            initial_qpos: model.qpos0().to_vec(),
        }
    }

    /// Generalised positions, `[nq]`.
    pub fn qpos(&self) -> &[f64] {
        self.data.qpos()
    }

    /// Generalised velocities, `[nv]`.
    pub fn qvel(&self) -> &[f64] {
        self.data.qvel()
    }

    /// Starts from the given positions (`[nq]`) and velocities (`[nv]`), with everything else in
    /// the simulator as after a reset.
    ///
    /// # Errors
    /// [`EnvError::StateLength`]; the state is then unchanged.
    pub fn set_state(&mut self, qpos: &[f64], qvel: &[f64]) -> Result<(), EnvError> {
        self.check_length("qpos", self.qpos().len(), qpos.len())?;
        self.check_length("qvel", self.qvel().len(), qvel.len())?;
        self.data.reset();
        self.data.qpos_mut().copy_from_slice(qpos);
        self.data.qvel_mut().copy_from_slice(qvel);
        self.data.forward();
        self.observe();
        Ok(())
    }

    /// Applies `action` for one step to the simulator alone, `mj_step` and nothing else: no
    /// observation, no reward. What is left of a step when everything that a task adds is taken
    /// away, for measuring that; [`Task::observation`] is stale afterwards.
    ///
    /// # Errors
    /// [`EnvError::ActionLength`].
    pub fn simulate(&mut self, action: &[f32]) -> Result<(), EnvError> {
        check_action_length(self.name(), action, self.action_space.dim())?;
        for (control, a) in self.data.ctrl_mut().iter_mut().zip(action) {
            *control = f64::from(*a);
        }
        for _ in 0..self.frame_skip {
            self.data.step();
        }
        Ok(())
    }

    #[cfg(feature = "render")]
    pub(super) fn model(&self) -> &mujoco_rs::prelude::MjModel {
        self.data.model()
    }

    #[cfg(feature = "render")]
    pub(super) fn data_mut(&mut self) -> &mut Data {
        &mut self.data
    }

    #[cfg(feature = "render")]
    pub(super) fn family(&self) -> Family {
        self.spec.family
    }

    fn check_length(
        &self,
        what: &'static str,
        expected: usize,
        got: usize,
    ) -> Result<(), EnvError> {
        if got == expected {
            return Ok(());
        }
        Err(EnvError::StateLength {
            task: self.name().to_owned(),
            what,
            expected,
            got,
        })
    }

    /// Reads and clears the simulator's counters of warnings.
    fn take_warnings(&mut self) -> u32 {
        let counters = self.data.warning();
        let total: i32 = counters.iter().map(|counter| counter.number).sum();
        if total > 0 {
            let first = counters.iter().position(|counter| counter.number > 0);
            self.warning = first.and_then(|kind| WARNINGS.get(kind)).copied();
            for counter in self.data.warning_mut() {
                counter.number = 0;
            }
        }
        total.unsigned_abs()
    }

    fn observe(&mut self) {
        self.observation.clear();
        self.dynamics.observe(&self.data, &mut self.observation);
        self.before = self.dynamics.before(&self.data);
    }
}

impl Task for MujocoTask {
    fn name(&self) -> &'static str {
        self.spec.entry.name
    }

    fn observation_space(&self) -> &Space {
        &self.observation_space
    }

    fn action_space(&self) -> &Space {
        &self.action_space
    }

    fn reset(&mut self, rng: &mut EnvRng) -> Result<(), EnvError> {
        self.data.reset();
        self.dynamics.reset(&mut self.data, rng);
        self.data.forward();
        self.observe();
        self.info.clear();
        self.warnings = 0;
        Ok(())
    }

    fn step(&mut self, action: &[f32]) -> Result<Outcome, EnvError> {
        let before = self.before;
        self.simulate(action)?;
        if self.dynamics.needs_body_forces() {
            self.data.rne_post_constraint();
        }
        self.observe();
        self.warnings = self.take_warnings();
        self.info.clear();
        let view = StepView {
            data: &self.data,
            action,
            observation: &self.observation,
            before,
            after: self.before,
            dt: self.dt,
        };
        Ok(self.dynamics.outcome(&view, &mut self.info))
    }

    fn observation(&self) -> &[f64] {
        &self.observation
    }

    fn info(&self) -> &[Info] {
        &self.info
    }

    fn warnings(&self) -> u32 {
        self.warnings
    }

    fn warning(&self) -> Option<String> {
        let warning = (self.warnings > 0).then_some(self.warning)??;
        Some(format!("{warning}, in the model {}", self.path.display()))
    }

    fn save(&self, state: &mut EnvState) -> Result<(), EnvError> {
        state.put_f64("integration", &self.data.state(INTEGRATION_STATE));
        state.put_f64("before", &self.before);
        state.put_f64("observation", &self.observation);
        Ok(())
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        let integration = self.data.state(INTEGRATION_STATE).len();
        let integration = state.f64("integration", integration)?;
        let before = state.f64("before", 2)?;
        let observation = state.f64("observation", self.observation.len())?;
        self.data
            .set_state(integration, INTEGRATION_STATE)
            .map_err(|error| StateError::Value {
                name: "integration".to_owned(),
                value: error.to_string(),
                expected: "a state of MuJoCo's",
            })?;
        self.before.copy_from_slice(before);
        self.observation.copy_from_slice(observation);
        self.info.clear();
        self.warnings = 0;
        Ok(())
    }
}
