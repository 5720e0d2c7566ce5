//! Checks the baselines against numbers that an independent implementation computed: three consecutive
//! updates from a stored state, acting, samplers and small parts, described in
//! `tests/fixtures_baselines/README.md`.

mod algorithms;
mod common;
mod samplers;
mod state;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use burn::tensor::Tensor;
use rescore_agents::{
    Acting, Batch, Draws, Given, Metrics, Pace, Setup, dipo::Dipo, idem::Idem, idql::Idql,
    qsm::Qsm, qvpo::Qvpo, score_sde::ScoreSde, td3::Td3,
};
use rescore_kernels::{ChainNoise, RescoreBackend};

use crate::parity::{
    Comparison, Tolerances,
    fixture::{Fixture, Index},
    pieces::values,
};
use algorithms::{Subject, Variant};

/// Checks every file in `folder` on the backend `B`; how many there were.
///
/// # Errors
/// When an array is missing or no check knows it, or a value deviates by more than its tolerance; the
/// message names file and array.
pub fn check<B: RescoreBackend>(folder: &Path, tolerances: Tolerances) -> Result<usize> {
    let device = B::Device::default();
    let mut comparison = Comparison::default();
    let index = Index::read(folder)?;
    for (name, entry) in &index.files {
        let mut file = File::<B> {
            fixture: Fixture::read(folder, name, entry)?,
            comparison: &mut comparison,
            tolerances,
            device: &device,
        };
        let checked = if file.fixture.has("common.state0.step") {
            file.algorithms()
        } else {
            common::check(&mut file)
        };
        checked.with_context(|| name.clone())?;
        file.fixture.all_used()?;
    }
    comparison.verdict()?;
    Ok(index.files.len())
}

/// A file that is being checked.
struct File<'a, B: RescoreBackend> {
    fixture: Fixture,
    comparison: &'a mut Comparison,
    tolerances: Tolerances,
    device: &'a B::Device,
}

impl<B: RescoreBackend> File<'_, B> {
    /// All algorithms, in any order: each begins with the state of the file.
    fn algorithms(&mut self) -> Result<()> {
        self.algorithm::<Td3<B>>()?;
        self.algorithm::<Qsm<B>>()?;
        self.algorithm::<Idql<B>>()?;
        self.algorithm::<ScoreSde<B>>()?;
        self.algorithm::<Qvpo<B>>()?;
        self.algorithm::<Dipo<B>>()?;
        self.algorithm::<Idem<B>>()?;
        samplers::check(self)
    }

    fn algorithm<S: Subject<B>>(&mut self) -> Result<()> {
        self.updates::<S>()
            .and_then(|()| self.acting::<S>())
            .with_context(|| S::NAME)
    }

    /// An agent in the state that the file begins with.
    fn begin<S: Subject<B>>(&mut self, variant: Variant) -> Result<S> {
        let setup = Setup {
            dims: [self.fixture.size("O")?, self.fixture.size("A")?],
            seed: 0,
            updates: 1000,
            pace: Pace::default(),
            device: self.device,
        };
        let mut agent = S::fresh(&self.fixture, variant, &setup)?;
        let state = state::read(&mut self.fixture, S::NAME, &agent.state())?;
        agent.load_state(&state)?;
        Ok(agent)
    }

    fn updates<S: Subject<B>>(&mut self) -> Result<()> {
        let mut agent: S = self.begin(Variant::Update)?;
        for step in 0..3 {
            let batch = self.batch(step)?;
            let prefix = format!("{}.step{step}", S::NAME);
            let draws = S::draws(self, &format!("{prefix}.draw"))?;
            let progress = format!("{prefix}.draw.progress");
            let progress = if self.fixture.has(&progress) {
                self.fixture.array(&progress)?.values[0]
            } else {
                0.0
            };
            let given = |draws: &[(&'static str, Given<B>)]| {
                let named = draws
                    .iter()
                    .map(|(name, of)| ((*name).to_owned(), of.clone()));
                Draws::given(named.collect(), self.device)
            };
            // The other form of the target, at the same state with the same numbers.
            let fixed = if self.fixture.has(&format!("{prefix}.out.fixed.policy_loss")) {
                let mut fixed: S = self.begin(Variant::Fixed)?;
                fixed.load_state(&agent.state())?;
                Some(fixed.step(&batch, &given(&draws), progress))
            } else {
                None
            };
            let metrics = agent.step(&batch, &given(&draws), progress);
            let norms = agent.norms();
            let results = Results {
                metrics: &metrics,
                fixed: fixed.as_ref(),
                norms: &norms,
            };
            for kind in ["out", "out64"] {
                let prefix = format!("{prefix}.{kind}.");
                for name in self.fixture.names(&prefix) {
                    let found = results.find(&name[prefix.len()..], self.fixture.shape(&name));
                    self.compare(&name, &found.with_context(|| name.clone())?)?;
                }
            }
            let after = format!("{}.state{}.", S::NAME, step + 1);
            if !self.fixture.names(&after).is_empty() {
                let tolerance = match step {
                    0 => self.tolerances.first_state,
                    _ => self.tolerances.later_states,
                };
                state::compare(self, &after, &agent.state(), tolerance)?;
            }
        }
        Ok(())
    }

    fn batch(&mut self, step: usize) -> Result<Batch<B>> {
        let name = |name: &str| format!("common.step{step}.batch.{name}");
        Ok(Batch {
            observations: self.fixture.tensor(&name("obs"), self.device)?,
            actions: self.fixture.tensor(&name("action"), self.device)?,
            rewards: self.fixture.tensor(&name("reward"), self.device)?,
            next_observations: self.fixture.tensor(&name("next_obs"), self.device)?,
            terminated: self.fixture.tensor(&name("done"), self.device)?,
        })
    }

    fn acting<S: Subject<B>>(&mut self) -> Result<()> {
        let agent: S = self.begin(Variant::Act)?;
        let observations: Tensor<B, 2> = self.fixture.tensor("common.act.draw.obs", self.device)?;
        let samples = self.fixture.size("act_samples")?;
        let mut seen = Metrics::default();

        // Training.
        let draws = self.acting_draws(S::candidates(&self.fixture)?)?;
        let train = agent.explore(observations.clone(), &draws, &mut seen);
        seen.record("train_action", train);

        // Evaluation, with the noise given.
        let all = self.acting_noise(samples)?;
        let acting = agent.acting().context("all say how they act")?;
        match acting {
            Acting::Diffusion(best_of) => {
                let noise = first(&all, best_of.particles);
                let chosen = best_of.choose(observations.clone(), &noise);
                seen.record("eval_action", chosen.actions);
                seen.record("eval_q", chosen.scores);
                seen.record("eval_index", chosen.indices.float());
                seen.record("samples", best_of.candidates(observations, &noise));
            }
            Acting::Deterministic(_) => {
                seen.record("eval_action", agent.act_deterministic(observations));
            }
            Acting::Gaussian { .. } => bail!("no baseline is Gaussian"),
        }
        let results = Results {
            metrics: &seen,
            fixed: None,
            norms: &[],
        };
        let prefix = format!("{}.act.out.", S::NAME);
        for name in self.fixture.names(&prefix) {
            let found = results.find(&name[prefix.len()..], self.fixture.shape(&name));
            self.compare(&name, &found.with_context(|| name.clone())?)?;
        }
        Ok(())
    }

    /// Noise of `samples` chains an observation.
    fn acting_noise(&mut self, samples: usize) -> Result<ChainNoise<B>> {
        let [x0, noise] = ["x0", "noise"].map(|name| format!("common.act.draw.{name}"));
        let all = crate::parity::pieces::given_noise(&mut self.fixture, &x0, &noise, self.device)?;
        Ok(first(&all, samples))
    }

    /// What acting in training draws, with `candidates` an observation.
    fn acting_draws(&mut self, candidates: usize) -> Result<Draws<B>> {
        let chain = Given::Chain(self.acting_noise(candidates)?);
        let name = |name: &str| format!("common.act.draw.{name}");
        let exploration = self.fixture.tensor(&name("expl"), self.device)?;
        let uniform: Tensor<B, 1> = self.fixture.tensor(&name("uniform"), self.device)?;
        let draws = [
            ("chain", chain),
            ("exploration", Given::Numbers(exploration)),
            ("choice", Given::Numbers(uniform.unsqueeze_dim(1))),
            ("candidates", self.candidates(&name("candidate_noise"))?),
        ];
        let named = draws.map(|(name, of)| (name.to_owned(), of));
        Ok(Draws::given(named.into(), self.device))
    }

    /// Numbers of candidates `[N, rows, A]` as ours, `[rows N, A]`.
    fn candidates(&mut self, name: &str) -> Result<Given<B>> {
        let noise: Tensor<B, 3> = self.fixture.tensor(name, self.device)?;
        Ok(Given::Numbers(noise.swap_dims(0, 1).flatten(0, 1)))
    }

    /// Holds `found` against the array `name`.
    fn compare(&mut self, name: &str, found: &[f64]) -> Result<()> {
        let at = self.fixture.at(name);
        let expected = self.fixture.array(name)?.values.clone();
        let mut tolerance = self.tolerances.single;
        if name.ends_with("noise_target") || name.ends_with("em_noclip") {
            // Their entries span orders of magnitude.
            tolerance *= largest(&expected).max(1.0);
        }
        self.comparison.array(&at, found, &expected, tolerance)
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, x| max.max(x.abs()))
}

/// The noise of the first `count` candidates.
fn first<B: RescoreBackend>(noise: &ChainNoise<B>, count: usize) -> ChainNoise<B> {
    match noise {
        ChainNoise::Given { start, steps } => ChainNoise::Given {
            start: start.clone().narrow(1, 0, count),
            steps: steps.clone().narrow(2, 0, count),
        },
        drawn => drawn.clone(),
    }
}

/// What an update or acting computed.
struct Results<'a, B: RescoreBackend> {
    metrics: &'a Metrics<B>,
    fixed: Option<&'a Metrics<B>>,
    norms: &'a [(&'static str, Tensor<B, 1>)],
}

impl<B: RescoreBackend> Results<'_, B> {
    /// What the files call `name`, in their order: candidates first.
    fn find(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
        let metrics = match name.strip_prefix("fixed.") {
            Some(_) => self.fixed.context("there is no other form")?,
            None => self.metrics,
        };
        let name = name.strip_prefix("fixed.").unwrap_or(name);
        let ours = match name {
            "q1_loss" | "q2_loss" => "q{}_loss",
            "q_backup" => "target_mean",
            "train_index" => "best_index",
            "next_action" => "next_actions",
            "noise_target" => "target_noise",
            "min_q_before" => "q_before",
            "min_q_after" => "q_after",
            "q_grad_norm" => "critic_gradient_norm",
            "policy_grad_norm" => "policy_gradient_norm",
            "ascent_grad_norm" => "ascent_gradient_norm",
            same => same,
        };
        let norm = self.norms.iter().find(|(norm, _)| *norm == ours);
        let found = match (norm, ours) {
            (Some((_, norm)), _) => norm.clone(),
            // One weight a state is called in the singular.
            (None, "weights") if shape.len() == 1 => (metrics.values("weights"))
                .or_else(|| metrics.values("weight"))
                .context("no weights")?,
            (None, ours) => metrics.values(ours).with_context(|| format!("no {ours}"))?,
        };
        let found = values(found);
        Ok(match (name, shape) {
            ("q1_loss", _) => vec![found[0]],
            ("q2_loss", _) => vec![found[1]],
            // Ours are state by state.
            ("samples" | "candidates", [samples, rows, dim]) => {
                let at = |n: usize, r: usize, d: usize| found[(r * samples + n) * dim + d];
                (0..*samples)
                    .flat_map(|n| (0..*rows).map(move |r| (n, r)))
                    .flat_map(|(n, r)| (0..*dim).map(move |d| (n, r, d)))
                    .map(|(n, r, d)| at(n, r, d))
                    .collect()
            }
            (
                "next_q" | "train_q" | "candidate_q" | "eval_q" | "advantage" | "probability",
                [samples, rows],
            ) => (0..*samples)
                .flat_map(|n| (0..*rows).map(move |r| (n, r)))
                .map(|(n, r)| found[r * samples + n])
                .collect(),
            _ => found,
        })
    }
}
