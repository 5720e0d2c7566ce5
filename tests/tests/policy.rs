//! An exported policy acts as the agent that it was exported from is evaluated.

use burn::backend::Flex;
use burn::backend::flex::FlexDevice;
use burn::tensor::{Tensor, TensorData};
use rescore_agents::{Agent, Array, StateDict};
use rescore_envs::Space;
use rescore_kernels::NoiseKey;
use rescore_runner::evaluate::play;
use rescore_runner::export::export;
use rescore_runner::policy::Policy;
use rescore_runner::{Config, Request, resolve};
use rescore_store::checkpoint::Description;

const ROWS: usize = 24;
const DEVICE: FlexDevice = FlexDevice;

fn config(algo: &str, set: &[&str]) -> Config {
    resolve(&Request {
        algo: Some(algo.into()),
        env: Some("HalfCheetah-v4".into()),
        seed: Some(7),
        set: set.iter().map(ToString::to_string).collect(),
        ..Request::default()
    })
    .expect("valid settings")
}

fn normals(name: &str, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    NoiseKey::new(3, name).fill_normals(&mut values, count, 0, 0, 0);
    values
}

/// An agent whose every parameter is random: fresh biases are zero and fresh norms do nothing, which
/// would hide that they are forgotten.
fn agent(config: &Config, dims: [usize; 2]) -> Box<dyn Agent<Flex>> {
    let mut agent = config
        .new_agent::<Flex>(dims.into(), &DEVICE)
        .expect("built in");
    let mut state = StateDict::default();
    for (name, array) in agent.state().iter() {
        let array = match array {
            Array::F32(shape, values) => {
                let random = normals(name, values.len()).into_iter();
                let shaken = values.iter().zip(random).map(|(value, random)| {
                    let positive = name.ends_with("variance") || name.ends_with("nu");
                    value + if positive { random.abs() } else { 0.2 * random }
                });
                Array::F32(shape.clone(), shaken.collect())
            }
            Array::U64(count) => Array::U64(*count),
        };
        state.insert(name, array);
    }
    agent.load_state(&state).expect("a state of its form");
    agent
}

/// Requires the same actions of both, in the units of the agent and of the task.
fn assert_agree(config: &Config, dims: [usize; 2], (case, tolerance): (&str, f32)) {
    let [observation_dim, action_dim] = dims;
    let space = Space::uniform(action_dim, -3.0, 1.0).expect("an interval");
    let description = Description {
        algo: config.algo.clone(),
        env: config.env.clone(),
        observation_dim,
        action_dim,
        settings: String::new(),
        step: 5,
        update: 1,
    };
    let policy = Policy {
        agent: agent(config, dims),
        normalizer: None,
        description,
    };
    let bytes = export(&policy, config, &space).expect("it can be exported");
    let exported = rescore_policy::Policy::from_bytes(&bytes).expect("it can be read");
    let rows = normals("observations", ROWS * observation_dim);
    let data = TensorData::new(rows.clone(), [ROWS, observation_dim]);
    let (agent, best_of) = (policy.agent.as_ref(), config.evaluation.best_of);
    let expected = play(agent, Tensor::from_data(data, &DEVICE), best_of).expect("it has samples");
    let expected: Vec<f32> = expected.into_data().iter().collect();
    for (row, expected) in rows
        .chunks(observation_dim)
        .zip(expected.chunks(action_dim))
    {
        let action = exported.act_in_units(row).expect("a sound observation");
        let scaled = exported.act(row).expect("a sound observation");
        for ((a, b), scaled) in action.iter().zip(expected).zip(scaled) {
            assert!((a - b).abs() < tolerance, "{case}: {a} instead of {b}");
            assert!(
                (scaled - (2.0 * b - 1.0)).abs() < 3.0 * tolerance,
                "{case}: {scaled}"
            );
        }
    }
}

#[test]
fn exported_policies_act_as_their_agents_are_evaluated() {
    let small = "hidden_dims=[48, 32]";
    for (algo, dims, set) in [
        ("dpmd", [3, 1], vec![small, "evaluation_particles=1"]),
        ("dpmd", [17, 6], vec![small, "critic.network.kind=mlp"]),
        (
            "sdac",
            [5, 3],
            vec![small, "evaluation_particles=7", "denoising_steps=1"],
        ),
        (
            "dpmd-reference",
            [5, 3],
            vec![small, "combine=mean", "critic.members=3"],
        ),
        (
            "dpmd",
            [5, 2],
            vec![
                "actor.network.kind=residual",
                "actor.network.width=24",
                "critic.network.width=16",
                "critic.network.blocks=2",
            ],
        ),
        (
            "sdac",
            [5, 2],
            vec![
                "actor.network.hidden_dims=[20]",
                "critic.network.kind=batch_norm",
                "critic.network.hidden_dims=[20, 20]",
                "critic.value.atoms=11",
            ],
        ),
        ("sac", [4, 2], vec![small]),
        ("td3", [4, 2], vec![small]),
        ("dpmd", [4, 2], vec![small, "actor.sampler=ddim"]),
        ("dpmd", [4, 2], vec![small, "actor.sampler=ddpm_large"]),
        ("sdac", [4, 2], vec![small, "evaluation.best_of=5"]),
        ("qsm", [4, 2], vec![small]),
        ("idem", [4, 2], vec![small, "denoising_steps=3"]),
        ("qvpo", [4, 2], vec![small, "evaluation_particles=3"]),
        ("dipo", [4, 2], vec![small]),
        ("idql", [4, 2], vec![small]),
        ("score-sde", [4, 2], vec![small, "samples=4"]),
    ] {
        let case = format!("{algo}, {dims:?}, {set:?}");
        // Deterministic steps keep the rounding of the first ones, where a clean action is the small
        // difference of large numbers.
        let tolerance = if case.contains("ddim") { 1e-3 } else { 1e-5 };
        assert_agree(&config(algo, &set), dims, (&case, tolerance));
    }
}

/// What files do not have is refused with what would be right.
#[test]
fn what_a_file_cannot_express_is_refused() {
    for (algo, set, words) in [
        ("score-sde", "sde.sampler=probability_flow", "sde.sampler"),
        (
            "score-sde",
            "sde.sampler=predictor_corrector",
            "sde.sampler",
        ),
        ("sac", "evaluation.best_of=4", "evaluation.best_of = 0"),
    ] {
        let config = config(algo, &[set]);
        let space = Space::uniform(1, -1.0, 1.0).expect("an interval");
        let policy = Policy {
            agent: agent(&config, [3, 1]),
            normalizer: None,
            description: Description {
                algo: algo.to_owned(),
                env: config.env.clone(),
                observation_dim: 3,
                action_dim: 1,
                settings: String::new(),
                step: 5,
                update: 1,
            },
        };
        let error = export(&policy, &config, &space).expect_err(set);
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains(words), "{set}: {error}, {hint}");
    }
}
