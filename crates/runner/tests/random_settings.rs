//! Settings that the configuration accepts train: 200 random ones, twenty steps each, none of which
//! may panic. Extreme values in many keys at once are what nobody tries by hand.

use burn::backend::Flex;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use rescore_agents::Algorithm;
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

/// Keys that are not the agent's.
fn common() -> impl Strategy<Value = Vec<String>> {
    let training = [
        key("num_envs", &["1", "2", "7", "33"]).boxed(),
        key("updates_per_step", &["1e-6", "0.3", "1", "3"]).boxed(),
        key("batch_size", &["1", "2", "17", "300"]).boxed(),
        key("evaluation.every", &["1", "7", "9223372036854775807"]).boxed(),
        key("evaluation.episodes", &["1", "3", "65"]).boxed(),
        key("checkpoint_every", &["1", "13", "9223372036854775807"]).boxed(),
        key("log_every", &["1", "10", "9223372036854775807"]).boxed(),
        key("overlap", &["true", "false"]).boxed(),
        select(&["count_warmup=true", "count_warmup=false"][..])
            .prop_map(|text| vec![text.to_owned()])
            .boxed(),
        // Together, because warm-up must fit into the buffer.
        select(
            &[
                ["warmup_steps=0", "replay.capacity=1"],
                ["warmup_steps=0", "replay.capacity=1000000"],
                ["warmup_steps=1", "replay.capacity=1"],
                ["warmup_steps=10", "replay.capacity=4294967295"],
                ["warmup_steps=40", "replay.capacity=50"],
            ][..],
        )
        .prop_map(|pair| pair.map(str::to_owned).to_vec())
        .boxed(),
    ];
    training.prop_map(|keys| keys.concat())
}

/// Keys of `[agent]` with values; an algorithm gets those that it has.
const AGENT: &[(&str, &[&str])] = &[
    ("gamma", &["0", "0.5", "1"]),
    ("reward_scale", &["1e-6", "1", "10"]),
    ("score.kind", &["\"scaled\"", "\"fixed\""]),
    ("energy.kind", &["\"scaled\"", "\"fixed\""]),
    ("exploration", &["0", "1"]),
    ("evaluation_particles", &["1", "4"]),
    ("train_samples", &["1", "5"]),
    ("target_samples", &["1", "5"]),
    ("behaviour_samples", &["1", "5"]),
    ("entropy_rows", &["0", "3"]),
    ("ascent_steps", &["1", "5"]),
    ("ascent_clip_ratio", &["1e-9", "10"]),
    ("expectile", &["0.01", "0.99"]),
    ("candidates", &["1", "5"]),
    ("samples", &["1", "5"]),
    ("sde.steps", &["1", "5"]),
    ("sde.time_end", &["1e-3", "0.5"]),
    ("sde.grid_power", &["1", "10"]),
    (
        "sde.sampler",
        &[
            "\"euler_maruyama\"",
            "\"predictor_corrector\"",
            "\"probability_flow\"",
        ],
    ),
    ("actor.sampler", &["\"ddpm\"", "\"ddpm_large\"", "\"ddim\""]),
    ("target.tau", &["1e-9", "0.3", "1"]),
    ("target.every", &["1", "3", "9223372036854775807"]),
    ("policy_every", &["1", "3", "9223372036854775807"]),
    ("states", &["1", "5"]),
    ("acting.particles", &["1", "4"]),
    ("acting.evaluation_particles", &["1", "4"]),
    ("acting.bootstrap_particles", &["1", "4"]),
    ("acting.noise", &["0", "1"]),
    ("regression.particles", &["2", "5"]),
    ("regression.noise", &["0", "1"]),
    ("regression.spread", &["0", "1e-9", "0.2"]),
    ("regression.ascent", &["0", "0.1"]),
    ("regression.loss_clip", &["0.1", "inf"]),
    (
        "regression.weights",
        &["\"softmax\"", "\"linear\"", "\"advantage\""],
    ),
    (
        "temperature.kind",
        &["\"solved\"", "\"stepped\"", "\"fixed\""],
    ),
    ("old_policy.kind", &["\"none\"", "\"held\""]),
    ("critic.members", &["1", "3"]),
    ("critic.combine", &["\"min\"", "\"mean\""]),
    ("critic.learning_rate", &["1e-9", "1e-2"]),
    ("critic.optimizer.clip_norm", &["0", "0.1"]),
    ("critic.optimizer.weight_decay", &["0", "0.1"]),
    ("critic.value.kind", &["\"scalar\"", "\"categorical\""]),
    (
        "critic.network.kind",
        &["\"mlp\"", "\"residual\"", "\"batch_norm\""],
    ),
    ("actor.network.kind", &["\"mlp\"", "\"residual\""]),
    ("actor.learning_rate", &["1e-9", "1e-2"]),
    ("actor.decay_begin", &["0", "0.5"]),
    ("particles", &["1", "2", "5", "33"]),
    ("critic.final_fraction", &["0.1", "1"]),
    ("actor.final_fraction", &["0.1", "1"]),
    ("actor.schedule", &["\"linear\"", "\"cosine\""]),
    ("actor.schedule_scale", &["0.01", "0.5"]),
    ("actor.start_scale", &["0.1", "2"]),
    ("actor.precision", &["\"f32\"", "\"bf16\""]),
    ("policy_delay", &["1", "3", "9223372036854775807"]),
    ("temperature.learning_rate", &["0", "0.1"]),
    ("temperature.initial", &["0.1", "10"]),
    ("temperature_every", &["1", "9223372036854775807"]),
    ("temperature.target_entropy_scale", &["-3", "0", "2"]),
    ("exploration.noise_scale", &["0", "1"]),
    ("q_normalization", &["\"reference\"", "\"standardize\""]),
    ("critic_steps", &["1", "2"]),
    ("q_scale", &["0.1", "5"]),
    ("tanh_correction", &["true", "false"]),
    ("log_std_max", &["-5", "2"]),
];

/// Small sizes, always; what an algorithm has of them.
const SMALL: &[(&str, &[&str])] = &[
    (
        "critic.network.hidden_dims",
        &["[1]", "[17, 9]", "[8, 1, 3, 5]"],
    ),
    (
        "actor.network.hidden_dims",
        &["[1]", "[17, 9]", "[8, 1, 3, 5]"],
    ),
    (
        "value.network.hidden_dims",
        &["[1]", "[17, 9]", "[8, 1, 3, 5]"],
    ),
    ("actor.denoising_steps", &["1", "3", "21"]),
    ("reverse_samples", &["2", "7", "19"]),
];

/// Whether `algorithm` has the key at `path` below `[agent]`, and a value there.
fn has(algorithm: &'static Algorithm, path: &str) -> bool {
    let mut value = toml::Value::Table(algorithm.defaults().table());
    path.split('.').all(|name| {
        let found = value.get(name).cloned();
        let is_some = found.is_some();
        value = found.unwrap_or(toml::Value::Boolean(false));
        is_some
    }) && !value.is_table()
}

/// Settings of the agent. Sizes of a network come only with the kind that has them.
fn agent(algorithm: &'static Algorithm) -> BoxedStrategy<Vec<String>> {
    let all = AGENT.iter().filter(|(path, _)| has(algorithm, path));
    let all = all.map(|(path, values)| key(path, values).boxed());
    let small = SMALL.iter().filter(|(path, _)| has(algorithm, path));
    let small = small.map(|(path, values)| {
        let one = select(*values);
        one.prop_map(move |value| vec![format!("{path}={value}")])
            .boxed()
    });
    let keys: Vec<_> = all.chain(small).collect();
    keys.prop_map(move |keys| {
        let mut set = keys.concat();
        for network in ["critic.network", "actor.network"] {
            let kind = format!("{network}.kind=");
            let chosen = set.iter().find(|text| text.starts_with(&kind));
            let by_default = has(algorithm, &format!("{network}.width"));
            let residual = format!("{kind}\"residual\"");
            if chosen.map_or(by_default, |chosen| *chosen == residual) {
                set.retain(|text| !text.starts_with(&format!("{network}.hidden_dims")));
                // With its kind: another preset has another.
                set.push(residual);
                set.push(format!("agent.{network}.width=7"));
            } else if by_default {
                set.push(format!("agent.{network}.hidden_dims=[17, 9]"));
            }
        }
        let full = |text: String| match text.split_once('=') {
            Some((path, _)) if path.starts_with("agent.") => text,
            _ => format!("agent.{text}"),
        };
        set.into_iter().map(full).collect()
    })
    .boxed()
}

fn requests() -> impl Strategy<Value = Request> {
    (select(Algorithm::all()), select(TASKS), any::<u32>())
        .prop_flat_map(|(algorithm, task, seed)| {
            // The other presets have the same keys; the sizes of this one are for a GPU.
            let presets = algorithm.presets().into_iter();
            let preset = select(presets.filter(|name| *name != "full").collect::<Vec<_>>());
            let keys = (preset, common(), agent(algorithm));
            (Just((algorithm, task, seed)), keys)
        })
        .prop_map(|((algorithm, task, seed), (preset, common, agent))| {
            let mut set = vec!["time_limit=9".into()];
            if algorithm.presets().len() > 1 {
                set.push(format!("preset={preset}"));
            }
            // A counted warm-up takes up to two rounds of 33 environments.
            let counted = common.iter().any(|text| text == "count_warmup=true");
            Request {
                algo: Some(algorithm.name.into()),
                env: Some(task.into()),
                seed: Some(seed.into()),
                steps: Some(if counted { 66 + 20 } else { 20 }),
                set: [set, common, agent].concat(),
                ..Request::default()
            }
        })
}

fn train_somewhere(config: &Config) -> Result<(), RunError> {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let path = parent.path().join("run");
    let folder = folder::create(Some(&path), config, folder::start(config, String::new()))?;
    let envs = Environments::new(config)?;
    let (begin, interrupt) = (Begin::Fresh, Interrupt::default());
    let device = Default::default();
    let agent = config.new_agent::<Flex>(envs.dims(), &device)?;
    rayon::scope(|_| train::<Flex>(config, agent, envs, &folder, begin, &interrupt, &device))
}

/// Whether settings that are valid by themselves were refused together: a time constant at an
/// update-to-data ratio or a discount for which there is none, a copy that is held for less than an
/// update, a norm over a batch of one; critics whose values IDQL cannot learn, targets that TD3 moves
/// with its policy.
fn does_not_go_together(error: &str) -> bool {
    [
        "`agent.target.environment_steps`",
        "`agent.old_policy.environment_steps`",
        "`agent.critic.network.kind`",
        "`agent.critic.value.kind`",
        "`agent.target.every`",
    ]
    .iter()
    .any(|key| error.contains(key))
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
            let config = match resolve(&request) {
                Ok(config) => config,
                Err(error) if does_not_go_together(&error.to_string()) => return Ok(()),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            match train_somewhere(&config) {
                // Large steps of learning may diverge; the run then says so.
                Err(RunError::NotFinite { .. }) => Ok(()),
                result => result.map_err(|error| TestCaseError::fail(error.to_string())),
            }
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
