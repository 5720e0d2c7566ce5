//! Agents of the algorithms and settings that a file of updates has.

use anyhow::{Result, bail};
use rescore_agents::{
    Agent, Setup,
    dpmd::{Dpmd, DpmdSettings},
    learners::CriticLearner,
    sdac::{Sdac, SdacSettings},
    settings::{
        ActivationKind, CriticSettings, DiffusionActorSettings, InitializerKind, NetworkSettings,
        OldPolicySettings, RecipeSettings, RegressionSettings, TargetSettings, ValueSettings,
        WeightTemperatureSettings,
    },
};
use rescore_kernels::RescoreBackend;
use rescore_nn::AdamSettings;

use crate::parity::fixture::Fixture;

/// What `hyper.*` says.
pub struct Hyper {
    gamma: f64,
    tau: f64,
    critic_lr: f64,
    actor_lr: f64,
    temp_lr: f64,
    kl_target: f64,
    sigma: f64,
    loss_clip: f64,
    policy_every: u64,
    refresh: f64,
    states: usize,
    /// Of a state in the policy steps of DPMD.
    pub particles: usize,
    reverse_samples: usize,
    steps: usize,
    v_max: f64,
    atoms: usize,
}

impl Hyper {
    /// All of it, so that nothing that a file asks for is passed over.
    pub fn read(fixture: &mut Fixture) -> Result<Self> {
        let mut number =
            |name: &str| -> Result<f64> { Ok(fixture.array(&format!("hyper.{name}"))?.values[0]) };
        Ok(Self {
            gamma: number("gamma")?,
            tau: number("tau")?,
            critic_lr: number("critic_lr")?,
            actor_lr: number("actor_lr")?,
            temp_lr: number("temp_lr")?,
            kl_target: number("kl_target")?,
            sigma: number("sigma")?,
            loss_clip: number("loss_clip")?,
            policy_every: number("policy_every")? as u64,
            refresh: number("refresh")?,
            states: number("n")? as usize,
            particles: number("K")? as usize,
            reverse_samples: number("M")? as usize,
            steps: number("T")? as usize,
            v_max: number("v_max")?,
            atoms: number("atoms")? as usize,
        })
    }

    /// Settings of `algorithm`, whose weights are of `samples` actions a state.
    fn recipe(&self, fixture: &Fixture, algorithm: &str, samples: usize) -> RecipeSettings {
        let activation = match algorithm {
            "sdac" => ActivationKind::Mish,
            _ => ActivationKind::Relu,
        };
        let critic = format!("{algorithm}.state0.q1");
        let (network, outputs) = network(fixture, &critic, activation);
        let value = match outputs {
            1 => ValueSettings::Scalar {},
            _ => ValueSettings::Categorical {
                atoms: self.atoms,
                low: -self.v_max,
                high: self.v_max,
            },
        };
        let policy = format!("{algorithm}.state0.policy");
        RecipeSettings {
            gamma: self.gamma,
            policy_every: self.policy_every,
            states: self.states,
            critic: CriticSettings {
                learning_rate: self.critic_lr,
                network,
                value,
                ..CriticSettings::default()
            },
            target: TargetSettings::Rate {
                tau: self.tau,
                every: 1,
            },
            actor: DiffusionActorSettings {
                denoising_steps: self.steps,
                learning_rate: self.actor_lr,
                final_fraction: 1.0,
                network: self::network(fixture, &policy, ActivationKind::Mish).0,
                optimizer: AdamSettings::default(),
                ..DiffusionActorSettings::small()
            },
            temperature: WeightTemperatureSettings::Stepped {
                initial: 1.0,
                learning_rate: self.temp_lr,
                kl_share: self.kl_target / (samples as f64).ln(),
            },
            ..RecipeSettings::small()
        }
    }
}

/// The network whose leaves are below `at`, and the width of its output.
fn network(fixture: &Fixture, at: &str, activation: ActivationKind) -> (NetworkSettings, usize) {
    let width = |leaf: &str| {
        let name = format!("{at}.{leaf}.w");
        fixture.has(&name).then(|| fixture.shape(&name)[1])
    };
    let counted = |name: &str| -> Vec<usize> {
        let widths = (0..).map_while(|i| width(&format!("{name}{i}")));
        widths.collect()
    };
    let mut hidden_dims = counted("l");
    match (width("in"), width("head")) {
        (Some(width), Some(outputs)) => {
            let blocks = counted("up").len();
            (NetworkSettings::Residual { width, blocks }, outputs)
        }
        (None, Some(outputs)) => (NetworkSettings::BatchNorm { hidden_dims }, outputs),
        (_, None) => {
            let outputs = hidden_dims.pop().unwrap_or_default();
            let initializer = InitializerKind::TruncatedNormal;
            let mlp = NetworkSettings::Mlp {
                hidden_dims,
                activation,
                initializer,
            };
            (mlp, outputs)
        }
    }
}

/// An agent of one of the two algorithms.
pub enum AnyAgent<B: RescoreBackend> {
    Dpmd(Dpmd<B>),
    Sdac(Sdac<B>),
}

impl<B: RescoreBackend> AnyAgent<B> {
    /// The agent of `algorithm`, with networks of the sizes of those that the file has.
    pub fn new(
        fixture: &Fixture,
        hyper: &Hyper,
        algorithm: &str,
        setup: &Setup<'_, B>,
    ) -> Result<Self> {
        Ok(match algorithm {
            "mse" | "simba" | "bn" => {
                let settings = DpmdSettings {
                    regression: RegressionSettings {
                        particles: hyper.particles,
                        noise: hyper.sigma,
                        loss_clip: hyper.loss_clip,
                        ..RegressionSettings::default()
                    },
                    old_policy: OldPolicySettings::Held {
                        environment_steps: hyper.refresh,
                    },
                    recipe: hyper.recipe(fixture, algorithm, hyper.particles),
                };
                Self::Dpmd(Dpmd::new(&settings, setup))
            }
            "sdac" => {
                let settings = SdacSettings {
                    reverse_samples: hyper.reverse_samples,
                    recipe: hyper.recipe(fixture, algorithm, hyper.reverse_samples),
                };
                Self::Sdac(Sdac::new(&settings, setup))
            }
            _ => bail!("no check knows this algorithm"),
        })
    }

    pub fn agent(&mut self) -> &mut dyn Agent<B> {
        match self {
            Self::Dpmd(agent) => agent,
            Self::Sdac(agent) => agent,
        }
    }

    pub fn critics(&self) -> &CriticLearner<B> {
        match self {
            Self::Dpmd(agent) => &agent.critics,
            Self::Sdac(agent) => &agent.critics,
        }
    }
}
