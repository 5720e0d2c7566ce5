//! The mechanics that all MuJoCo tasks share.

use std::path::{Path, PathBuf};

use mujoco_rs::mujoco_c::mjtState;
use mujoco_rs::prelude::MjData;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

use super::families::{Data, Dynamics, StepView, dynamics};
use super::library::{load_model, model_path};
use crate::env::check_action_length;
use crate::mujoco_table::{MUJOCO_TASKS, MujocoSpec, Noise};
use crate::{EnvError, EnvRng, EnvState, Info, Outcome, Space, StateError, Task, find};

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
    dt: f64,
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
    /// The registered MuJoCo task `name`, in its model's initial state.
    ///
    /// # Errors
    /// [`EnvError::UnknownTask`] (also for a task that is not one of MuJoCo's),
    /// [`EnvError::MujocoVersion`], [`EnvError::MissingModel`], or [`EnvError::InvalidModel`] if
    /// the model does not load or does not have the registered dimensions.
    pub fn new(name: &str) -> Result<Self, EnvError> {
        let name = find(name)?.name;
        let spec = MUJOCO_TASKS
            .iter()
            .find(|spec| spec.entry.name == name)
            .ok_or_else(|| EnvError::UnknownTask {
                name: name.to_owned(),
                suggestion: None,
            })?;
        Self::with_model(spec, &model_path(spec.model)?)
    }

    fn with_model(spec: &'static MujocoSpec, path: &Path) -> Result<Self, EnvError> {
        let invalid = |reason| EnvError::InvalidModel {
            path: path.to_owned(),
            reason,
        };
        let model = load_model(path)?;
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
        let mut this = Self {
            spec,
            dynamics: dynamics(spec.family),
            dt: model.opt().timestep * f64::from(spec.frame_skip),
            observation_space: Space::uniform(
                spec.entry.observation_dim,
                f64::NEG_INFINITY,
                f64::INFINITY,
            )?,
            action_space,
            observation: Vec::with_capacity(spec.entry.observation_dim),
            before: [0.0; 2],
            info: Vec::new(),
            data,
            path: path.to_owned(),
        };
        if this.action_space.dim() != spec.entry.action_dim {
            return Err(invalid(format!(
                "it has {} actuators where `{}` has {}",
                this.action_space.dim(),
                spec.entry.name,
                spec.entry.action_dim
            )));
        }
        this.data.forward();
        this.observe();
        if this.observation.len() != spec.entry.observation_dim {
            return Err(invalid(format!(
                "it gives {} observation values where `{}` has {}",
                this.observation.len(),
                spec.entry.name,
                spec.entry.observation_dim
            )));
        }
        Ok(this)
    }

    /// The model file in use.
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
            frame_skip: self.spec.frame_skip,
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
        add_noise(self.data.qpos_mut(), self.spec.position_noise, rng);
        add_noise(self.data.qvel_mut(), self.spec.velocity_noise, rng);
        self.data.forward();
        self.observe();
        self.info.clear();
        Ok(())
    }

    fn step(&mut self, action: &[f32]) -> Result<Outcome, EnvError> {
        check_action_length(self.name(), action, self.action_space.dim())?;
        let before = self.before;
        for (control, a) in self.data.ctrl_mut().iter_mut().zip(action) {
            *control = f64::from(*a);
        }
        for _ in 0..self.spec.frame_skip {
            self.data.step();
        }
        // Contact forces on bodies are computed only on request; Gymnasium requests them.
        self.data.rne_post_constraint();
        self.observe();
        self.info.clear();
        let view = StepView {
            data: &self.data,
            action,
            observation: &self.observation,
            before,
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
        Ok(())
    }
}

fn add_noise(values: &mut [f64], noise: Noise, rng: &mut EnvRng) {
    for value in values {
        *value += match noise {
            Noise::Uniform(bound) => rng.random_range(-bound..bound),
            Noise::Normal(std) => {
                let normal: f64 = StandardNormal.sample(rng);
                std * normal
            }
        };
    }
}
