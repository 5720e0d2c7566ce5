//! Settings that the configuration accepts train: 200 random ones, twenty steps each, none of which
//! may panic. Extreme values in many keys at once are what nobody tries by hand.

use burn::backend::Flex;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use rescore_agents::{AgentConfig, Algorithm};
use rescore_runner::{
    Begin, Config, Environments, Interrupt, Request, RunError, folder, resolve, train,
};

const TASKS: &[&str] = &[
    "Pendulum-v1",
    "MultiGoal-v0",
    "Probe-ConstantReward-v0",
    "Probe-ObservationActionReward-v0",
];

/// `key=value` for a value out of `values`, or nothing.
fn key(name: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::option::of(select(values)).prop_map(move |value| {
        value
            .map(|value| format!("{name}={value}"))
            .into_iter()
            .collect()
    })
}

/// The keys that all algorithms have.
fn common() -> impl Strategy<Value = Vec<String>> {
    let training = [
        key("num_envs", &["1", "2", "7", "33"]).boxed(),
        key("updates_per_step", &["1e-6", "0.3", "1", "3"]).boxed(),
        key("batch_size", &["1", "2", "17", "300"]).boxed(),
        key("eval_every", &["1", "7", "9223372036854775807"]).boxed(),
        key("eval_episodes", &["1", "3", "65"]).boxed(),
        key("checkpoint_every", &["1", "13", "9223372036854775807"]).boxed(),
        key("log_every", &["1", "10", "9223372036854775807"]).boxed(),
        key("overlap", &["true", "false"]).boxed(),
        // Together, because warm-up must fit into the buffer.
        select(
            &[
                ["warmup_steps=0", "replay_capacity=1"],
                ["warmup_steps=0", "replay_capacity=1000000"],
                ["warmup_steps=1", "replay_capacity=1"],
                ["warmup_steps=10", "replay_capacity=4294967295"],
                ["warmup_steps=40", "replay_capacity=50"],
            ][..],
        )
        .prop_map(|pair| pair.map(str::to_owned).to_vec())
        .boxed(),
    ];
    let agent = [
        key("gamma", &["0", "0.5", "1"]).boxed(),
        key("tau", &["1e-9", "0.3", "1"]).boxed(),
        key("reward_scale", &["1e-6", "1", "10"]).boxed(),
        key("critic_lr", &["1e-9", "1e-2"]).boxed(),
        key("policy_lr", &["1e-9", "1e-2"]).boxed(),
        key("temperature_lr", &["0", "0.1"]).boxed(),
        key("initial_temperature", &["0.1", "10"]).boxed(),
        key("target_entropy_scale", &["-3", "0", "2"]).boxed(),
        key("initializer", &["\"truncated_normal\"", "\"lecun_normal\""]).boxed(),
        select(
            &[
                "hidden_dims=[1]",
                "hidden_dims=[17, 9]",
                "hidden_dims=[8, 1, 3, 5]",
            ][..],
        )
        .prop_map(|value| vec![value.to_owned()])
        .boxed(),
    ];
    let all: Vec<_> = training.into_iter().chain(agent).collect();
    all.prop_map(|keys| keys.concat())
}

/// The keys of diffusion policies.
fn diffusion() -> impl Strategy<Value = Vec<String>> {
    let keys = vec![
        key("particles", &["1", "2", "5", "33"]).boxed(),
        key("act_particles", &["0", "1", "40"]).boxed(),
        key("noise_before_choice", &["true", "false"]).boxed(),
        select(
            &[
                "denoising_steps=1",
                "denoising_steps=3",
                "denoising_steps=21",
            ][..],
        )
        .prop_map(|value| vec![value.to_owned()])
        .boxed(),
        key("schedule", &["\"linear\"", "\"cosine\""]).boxed(),
        key("schedule_scale", &["0.01", "0.5"]).boxed(),
        key("noise_scale", &["0", "1"]).boxed(),
        key("policy_delay", &["1", "3", "9223372036854775807"]).boxed(),
        key("target_delay", &["1", "3", "9223372036854775807"]).boxed(),
        key("policy_lr_begin", &["0", "1", "9223372036854775807"]).boxed(),
        key("policy_lr_length", &["1", "9223372036854775807"]).boxed(),
        key("temperature_every", &["1", "9223372036854775807"]).boxed(),
        key("start_scale", &["0.1", "2"]).boxed(),
        key("clip_exploration", &["true", "false"]).boxed(),
        key("target_exploration", &["true", "false"]).boxed(),
        key("behaviour_policy", &["\"target\"", "\"online\""]).boxed(),
        key("skip_unused", &["true", "false"]).boxed(),
        key("precision", &["\"f32\"", "\"bf16\""]).boxed(),
    ];
    keys.prop_map(|keys| keys.concat())
}

/// The keys of one algorithm alone.
fn own(algorithm: Algorithm) -> BoxedStrategy<Vec<String>> {
    match algorithm {
        Algorithm::Dpmd => (
            diffusion(),
            key("q_normalization", &["\"reference\"", "\"standardize\""]),
            key("critic_steps", &["1", "2"]),
        )
            .prop_map(|(keys, normalization, steps)| [keys, normalization, steps].concat())
            .boxed(),
        Algorithm::Sdac => (
            diffusion(),
            select(&[1, 2, 19][..]),
            key("q_scale", &["0.1", "5"]),
        )
            .prop_map(|(keys, samples, scale)| {
                let samples = vec![format!("reverse_samples={samples}")];
                [keys, samples, scale].concat()
            })
            .boxed(),
        Algorithm::Sac => (
            key("tanh_correction", &["true", "false"]),
            key("log_std_max", &["-20", "2"]),
        )
            .prop_map(|(correction, max)| [correction, max].concat())
            .boxed(),
    }
}

fn requests() -> impl Strategy<Value = Request> {
    (select(&Algorithm::ALL[..]), select(TASKS), any::<u32>())
        .prop_flat_map(|(algorithm, task, seed)| {
            let preset = select(AgentConfig::presets(algorithm));
            (
                Just((algorithm, task, seed)),
                preset,
                common(),
                own(algorithm),
            )
        })
        .prop_map(|((algorithm, task, seed), preset, common, own)| Request {
            algo: Some(algorithm.name().into()),
            env: Some(task.into()),
            seed: Some(seed.into()),
            steps: Some(20),
            set: [
                vec![format!("preset={preset}"), "time_limit=9".into()],
                common,
                own,
            ]
            .concat(),
            ..Request::default()
        })
}

fn train_somewhere(config: &Config) -> Result<(), RunError> {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let path = parent.path().join("run");
    let folder = folder::create(Some(&path), config, folder::start(config, String::new()))?;
    let envs = Environments::new(config)?;
    let (begin, interrupt) = (Begin::Fresh, Interrupt::default());
    let device = Default::default();
    rayon::scope(|_| train::<Flex>(config, envs, &folder, begin, &interrupt, &device))
}

#[test]
fn random_settings_train_without_a_panic() {
    let cases = Cases {
        cases: 200,
        failure_persistence: None,
        ..Cases::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(cases, rng)
        .run(&requests(), |request| {
            let config =
                resolve(&request).map_err(|error| TestCaseError::fail(error.to_string()))?;
            match train_somewhere(&config) {
                // Large steps of learning may diverge; the run then says so.
                Err(RunError::NotFinite { .. }) => Ok(()),
                result => result.map_err(|error| TestCaseError::fail(error.to_string())),
            }
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
