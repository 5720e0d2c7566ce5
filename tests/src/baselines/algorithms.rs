//! The algorithms as the files see them.

use anyhow::Result;
use burn::tensor::Tensor;
use rescore_agents::{
    Agent, Batch, Draws, Given, Metrics, Setup,
    dipo::{Dipo, DipoSettings},
    idem::{Idem, IdemSettings},
    idql::{Idql, IdqlSettings},
    qsm::{Qsm, QsmSettings},
    qvpo::{Qvpo, QvpoSettings},
    score_sde::{ScoreSde, ScoreSdeSettings},
    settings::{
        ActorSettings, BaselineSettings, CriticSettings, EnergySettings, NetworkSettings,
        ScoreSettings, TargetSettings,
    },
    td3::{Td3, Td3Settings},
};
use rescore_kernels::RescoreBackend;

use super::File;
use crate::parity::{fixture::Fixture, pieces::given_noise};

/// What an agent is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Updates.
    Update,
    /// Updates with the other form of the target.
    Fixed,
    /// Acting, with as many samples as the file has.
    Act,
}

/// Random numbers by our names.
pub type Named<B> = Vec<(&'static str, Given<B>)>;

/// An algorithm as the files see it.
pub trait Subject<B: RescoreBackend>: Agent<B> + Sized {
    /// Its name in the files.
    const NAME: &'static str;

    /// An agent with the settings of the file.
    fn fresh(fixture: &Fixture, variant: Variant, setup: &Setup<'_, B>) -> Result<Self>;

    /// The random numbers of the update whose draws begin with `prefix`.
    fn draws(file: &mut File<'_, B>, prefix: &str) -> Result<Named<B>>;

    /// One update after the share `progress` of the run.
    fn step(&mut self, batch: &Batch<B>, draws: &Draws<B>, progress: f64) -> Metrics<B>;

    /// Candidates an observation in training.
    fn candidates(_fixture: &Fixture) -> Result<usize> {
        Ok(1)
    }

    /// The action of training.
    fn explore(
        &self,
        observations: Tensor<B, 2>,
        draws: &Draws<B>,
        seen: &mut Metrics<B>,
    ) -> Tensor<B, 2>;
}

/// Settings by their names in the file.
struct Read<'a> {
    fixture: &'a Fixture,
    algorithm: &'static str,
}

impl Read<'_> {
    fn number(&self, key: &str) -> Result<f64> {
        self.fixture.setting(&["settings", self.algorithm, key])
    }

    fn count(&self, key: &str) -> Result<usize> {
        Ok(self.number(key)? as usize)
    }

    fn widths(&self, network: &mut NetworkSettings, of: &str) -> Result<()> {
        if let NetworkSettings::Mlp { hidden_dims, .. } = network {
            *hidden_dims = self.fixture.list(&["hidden", of])?;
        }
        Ok(())
    }

    fn critic(&self, critic: &mut CriticSettings) -> Result<()> {
        critic.learning_rate = self.number("critic_lr")?;
        self.widths(&mut critic.network, "critic")
    }

    fn actor(&self, actor: &mut ActorSettings) -> Result<()> {
        actor.learning_rate = self.number("policy_lr")?;
        self.widths(&mut actor.network, "policy")
    }

    fn target(&self) -> Result<TargetSettings> {
        let tau = self.number("tau")?;
        Ok(TargetSettings::Rate { tau, every: 1 })
    }

    fn base(&self, base: &mut BaselineSettings) -> Result<()> {
        base.gamma = self.number("gamma")?;
        base.reward_scale = self.number("reward_scale")?;
        base.target = self.target()?;
        self.critic(&mut base.critic)?;
        base.actor.learning_rate = self.number("policy_lr")?;
        base.actor.denoising_steps = self.count("T")?;
        self.widths(&mut base.actor.network, "policy")?;
        // Of `dipo` one, whatever there is.
        if base.evaluation_particles > 1 {
            base.evaluation_particles = self.fixture.size("act_samples")?;
        }
        if let Ok(limit) = self.number("clip_norm") {
            base.critic.optimizer.clip_norm = limit;
            base.actor.optimizer.clip_norm = limit;
        }
        Ok(())
    }
}

/// Draws by their names in the file and here.
impl<B: RescoreBackend> File<'_, B> {
    fn numbers(&mut self, prefix: &str, name: &str) -> Result<Given<B>> {
        let name = format!("{prefix}.{name}");
        Ok(Given::Numbers(self.fixture.tensor(&name, self.device)?))
    }

    fn times(&mut self, prefix: &str) -> Result<(&'static str, Given<B>)> {
        let times = self.fixture.integers(&format!("{prefix}.t"), self.device)?;
        Ok(("times", Given::Integers(times)))
    }

    fn chain(&mut self, prefix: &str, name: &str) -> Result<Given<B>> {
        let [start, steps] = ["x0", "noise"].map(|part| format!("{prefix}.{name}_{part}"));
        let noise = given_noise(&mut self.fixture, &start, &steps, self.device)?;
        Ok(Given::Chain(noise))
    }
}

impl<B: RescoreBackend> Subject<B> for Td3<B> {
    const NAME: &'static str = "td3";

    fn fresh(fixture: &Fixture, _: Variant, setup: &Setup<'_, B>) -> Result<Self> {
        let algorithm = Self::NAME;
        let read = Read { fixture, algorithm };
        let mut settings = Td3Settings {
            gamma: read.number("gamma")?,
            reward_scale: read.number("reward_scale")?,
            target_noise: read.number("target_noise")?,
            noise_clip: read.number("noise_clip")?,
            policy_delay: read.count("policy_delay")? as u64,
            exploration: read.number("exploration")?,
            target: read.target()?,
            ..Td3Settings::default()
        };
        read.critic(&mut settings.critic)?;
        read.actor(&mut settings.actor)?;
        Ok(Self::new(&settings, setup))
    }

    fn draws(file: &mut File<'_, B>, prefix: &str) -> Result<Named<B>> {
        Ok(vec![("next", file.numbers(prefix, "z")?)])
    }

    fn step(&mut self, batch: &Batch<B>, draws: &Draws<B>, _: f64) -> Metrics<B> {
        self.update_with(batch, draws)
    }

    fn explore(
        &self,
        observations: Tensor<B, 2>,
        draws: &Draws<B>,
        _: &mut Metrics<B>,
    ) -> Tensor<B, 2> {
        self.act_with(observations, draws)
    }
}

impl<B: RescoreBackend> Subject<B> for Qsm<B> {
    const NAME: &'static str = "qsm";

    fn fresh(fixture: &Fixture, variant: Variant, setup: &Setup<'_, B>) -> Result<Self> {
        let algorithm = Self::NAME;
        let read = Read { fixture, algorithm };
        let mut settings = QsmSettings {
            score: match variant {
                Variant::Fixed => ScoreSettings::Fixed {
                    scale: read.number("fixed_scale")?,
                },
                _ => ScoreSettings::Scaled {
                    temperature: read.number("temperature")?,
                    scale_floor: read.number("scale_floor")?,
                },
            },
            exploration: read.number("exploration")?,
            ..QsmSettings::default()
        };
        read.base(&mut settings.base)?;
        Ok(Self::new(&settings, setup))
    }

    fn draws(file: &mut File<'_, B>, prefix: &str) -> Result<Named<B>> {
        Ok(vec![
            ("next/chain", file.chain(prefix, "next")?),
            file.times(prefix)?,
            ("noise", file.numbers(prefix, "noise")?),
        ])
    }

    fn step(&mut self, batch: &Batch<B>, draws: &Draws<B>, _: f64) -> Metrics<B> {
        self.update_with(batch, draws)
    }

    fn explore(
        &self,
        observations: Tensor<B, 2>,
        draws: &Draws<B>,
        _: &mut Metrics<B>,
    ) -> Tensor<B, 2> {
        self.act_with(observations, draws)
    }
}

impl<B: RescoreBackend> Subject<B> for Idem<B> {
    const NAME: &'static str = "idem";

    fn fresh(fixture: &Fixture, variant: Variant, setup: &Setup<'_, B>) -> Result<Self> {
        let algorithm = Self::NAME;
        let read = Read { fixture, algorithm };
        let mut settings = IdemSettings {
            energy: match variant {
                Variant::Fixed => EnergySettings::Fixed {
                    temperature: read.number("fixed_temperature")?,
                },
                _ => EnergySettings::Scaled {
                    temperature: read.number("temperature")?,
                    scale_floor: read.number("scale_floor")?,
                },
            },
            reverse_samples: read.count("reverse_samples")?,
            exploration: read.number("exploration")?,
            ..IdemSettings::default()
        };
        read.base(&mut settings.base)?;
        Ok(Self::new(&settings, setup))
    }

    fn draws(file: &mut File<'_, B>, prefix: &str) -> Result<Named<B>> {
        Ok(vec![
            ("next/chain", file.chain(prefix, "next")?),
            file.times(prefix)?,
            ("forward", file.numbers(prefix, "noise1")?),
            ("reverse", file.numbers(prefix, "noise2")?),
        ])
    }

    fn step(&mut self, batch: &Batch<B>, draws: &Draws<B>, _: f64) -> Metrics<B> {
        self.update_with(batch, draws)
    }

    fn explore(
        &self,
        observations: Tensor<B, 2>,
        draws: &Draws<B>,
        _: &mut Metrics<B>,
    ) -> Tensor<B, 2> {
        self.act_with(observations, draws)
    }
}

impl<B: RescoreBackend> Subject<B> for Idql<B> {
    const NAME: &'static str = "idql";

    fn fresh(fixture: &Fixture, _: Variant, setup: &Setup<'_, B>) -> Result<Self> {
        let algorithm = Self::NAME;
        let read = Read { fixture, algorithm };
        let mut settings = IdqlSettings {
            expectile: read.number("expectile")?,
            selection_expectile: read.number("selection_expectile")?,
            candidates: fixture.size("act_samples")?,
            candidate_noise: read.number("candidate_noise")?,
            ..IdqlSettings::default()
        };
        settings.value.learning_rate = read.number("value_lr")?;
        read.widths(&mut settings.value.network, "value")?;
        read.base(&mut settings.base)?;
        Ok(Self::new(&settings, setup))
    }

    fn draws(file: &mut File<'_, B>, prefix: &str) -> Result<Named<B>> {
        Ok(vec![
            file.times(prefix)?,
            ("noise", file.numbers(prefix, "noise")?),
        ])
    }

    fn step(&mut self, batch: &Batch<B>, draws: &Draws<B>, _: f64) -> Metrics<B> {
        self.update_with(batch, draws)
    }

    fn candidates(fixture: &Fixture) -> Result<usize> {
        fixture.size("act_samples")
    }

    fn explore(
        &self,
        observations: Tensor<B, 2>,
        draws: &Draws<B>,
        seen: &mut Metrics<B>,
    ) -> Tensor<B, 2> {
        self.act_with(observations, draws, seen)
    }
}

impl<B: RescoreBackend> Subject<B> for ScoreSde<B> {
    const NAME: &'static str = "score_sde";

    fn fresh(fixture: &Fixture, variant: Variant, setup: &Setup<'_, B>) -> Result<Self> {
        let mut settings = score_sde(fixture)?;
        if variant == Variant::Act {
            settings.samples = fixture.size("act_samples")?;
        }
        Ok(Self::new(&settings, setup))
    }

    fn draws(file: &mut File<'_, B>, prefix: &str) -> Result<Named<B>> {
        let times: Tensor<B, 1> = file.fixture.tensor(&format!("{prefix}.t"), file.device)?;
        Ok(vec![
            ("next/chain", file.chain(prefix, "next")?),
            (
                "next/candidates",
                file.candidates(&format!("{prefix}.candidate_noise"))?,
            ),
            ("times", Given::Numbers(times.unsqueeze_dim(1))),
            ("noise", file.numbers(prefix, "noise")?),
        ])
    }

    fn step(&mut self, batch: &Batch<B>, draws: &Draws<B>, _: f64) -> Metrics<B> {
        let mut metrics = self.update_with(batch, draws);
        let times = draws.uniforms_between("times", [batch.size(), 1], [0.0, 1.0]);
        let [alpha, sigma] = self.actor.schedule.levels(&times.squeeze_dim(1));
        metrics.record("alpha", alpha);
        metrics.record("sigma", sigma);
        metrics
    }

    fn candidates(fixture: &Fixture) -> Result<usize> {
        fixture.size("act_samples")
    }

    fn explore(
        &self,
        observations: Tensor<B, 2>,
        draws: &Draws<B>,
        seen: &mut Metrics<B>,
    ) -> Tensor<B, 2> {
        self.act_with(observations, draws, seen)
    }
}

/// The settings of the file.
pub fn score_sde(fixture: &Fixture) -> Result<ScoreSdeSettings> {
    let algorithm = "score_sde";
    let read = Read { fixture, algorithm };
    let mut settings = ScoreSdeSettings {
        gamma: read.number("gamma")?,
        reward_scale: read.number("reward_scale")?,
        samples: read.count("samples")?,
        candidate_noise: read.number("candidate_noise")?,
        target: read.target()?,
        ..ScoreSdeSettings::default()
    };
    settings.sde.steps = read.count("steps")?;
    settings.sde.beta_0 = read.number("beta_0")?;
    settings.sde.beta_1 = read.number("beta_1")?;
    settings.sde.time_end = read.number("time_end")?;
    settings.sde.grid_power = read.number("grid_power")?;
    settings.sde.time_scale = read.number("time_scale")?;
    settings.sde.snr = read.number("snr")?;
    read.critic(&mut settings.critic)?;
    read.actor(&mut settings.actor)?;
    Ok(settings)
}

impl<B: RescoreBackend> Subject<B> for Qvpo<B> {
    const NAME: &'static str = "qvpo";

    fn fresh(fixture: &Fixture, _: Variant, setup: &Setup<'_, B>) -> Result<Self> {
        let algorithm = Self::NAME;
        let read = Read { fixture, algorithm };
        let mut settings = QvpoSettings {
            target_samples: read.count("target_samples")?,
            behaviour_samples: read.count("behaviour_samples")?,
            train_samples: read.count("train_samples")?,
            entropy_rows: read.count("entropy_rows")?,
            entropy_start: read.number("entropy_start")?,
            entropy_end: read.number("entropy_end")?,
            ..QvpoSettings::default()
        };
        read.base(&mut settings.base)?;
        Ok(Self::new(&settings, setup))
    }

    fn draws(file: &mut File<'_, B>, prefix: &str) -> Result<Named<B>> {
        Ok(vec![
            ("next/chain", file.chain(prefix, "next")?),
            ("chain", file.chain(prefix, "new")?),
            ("uniform", file.numbers(prefix, "uniform_action")?),
            file.times(prefix)?,
            ("noise", file.numbers(prefix, "noise")?),
        ])
    }

    fn step(&mut self, batch: &Batch<B>, draws: &Draws<B>, progress: f64) -> Metrics<B> {
        self.update_with(batch, draws, progress)
    }

    fn candidates(fixture: &Fixture) -> Result<usize> {
        let algorithm = Self::NAME;
        Read { fixture, algorithm }.count("behaviour_samples")
    }

    fn explore(
        &self,
        observations: Tensor<B, 2>,
        draws: &Draws<B>,
        seen: &mut Metrics<B>,
    ) -> Tensor<B, 2> {
        self.act_with(observations, draws, seen)
    }
}

impl<B: RescoreBackend> Subject<B> for Dipo<B> {
    const NAME: &'static str = "dipo";

    fn fresh(fixture: &Fixture, _: Variant, setup: &Setup<'_, B>) -> Result<Self> {
        let algorithm = Self::NAME;
        let read = Read { fixture, algorithm };
        let mut settings = DipoSettings {
            ascent_steps: read.count("ascent_steps")?,
            ascent_lr: read.number("ascent_lr")?,
            ascent_eps: read.number("ascent_eps")?,
            ascent_clip_ratio: read.number("ascent_clip_ratio")?,
            ..DipoSettings::default()
        };
        read.base(&mut settings.base)?;
        Ok(Self::new(&settings, setup))
    }

    fn draws(file: &mut File<'_, B>, prefix: &str) -> Result<Named<B>> {
        <Qsm<B> as Subject<B>>::draws(file, prefix)
    }

    fn step(&mut self, batch: &Batch<B>, draws: &Draws<B>, _: f64) -> Metrics<B> {
        self.update_with(batch, draws)
    }

    fn explore(
        &self,
        observations: Tensor<B, 2>,
        draws: &Draws<B>,
        _: &mut Metrics<B>,
    ) -> Tensor<B, 2> {
        self.act_with(observations, draws)
    }
}
