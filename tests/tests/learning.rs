//! Every registered algorithm solves the five probe tasks, whose values and optimal actions are known.
//!
//! The program's own training loop runs with the task files that ship with it
//! (`crates/runner/configs/tasks/Probe-*.toml`) and the algorithms' defaults; what is then in its last
//! checkpoint is examined. Each algorithm that fails a probe fails in what the probe is named for.

use burn::backend::{Flex, flex::FlexDevice};
use burn::tensor::{Tensor, TensorData};
use rescore_agents::settings::CriticSettings;
use rescore_agents::{Agent, Algorithm, StateDict, StateError};
use rescore_critics::Critics;
use rescore_envs::ProbeKind;
use rescore_runner::checkpoint::{describe, from_agent, to_agent};
use rescore_runner::{Begin, Config, Environments, Interrupt, Request, folder, resolve, train};
use rescore_store::arrays::Arrays;
use rescore_store::checkpoint::{self, Checkpoints, Limits, Which};

/// Error allowed of a value, in units of the reward, which is 1 at its best.
const VALUE_TOLERANCE: f64 = 0.1;

/// Distance allowed of an action from the best, which costs a reward of 0.04: about the standard
/// deviation that SDAC's policy keeps at the end. An untrained policy is 0.5 off on average.
const ACTION_TOLERANCE: f64 = 0.2;

/// Distance allowed of the mean action of the policy alone. IDQL's policy imitates the replay buffer,
/// which the choice among its samples has improved; the choice is the rest of the way.
const POLICY_TOLERANCE: f64 = 0.35;

const DEVICE: FlexDevice = FlexDevice;

/// What a run learned.
struct Learned {
    agent: Box<dyn Agent<Flex>>,
    critics: Critics<Flex>,
    reward_scale: f64,
    gamma: f64,
}

fn configuration(algorithm: &str, probe: ProbeKind, steps: Option<u64>) -> Config {
    let set = match algorithm {
        // SAC's value contains the temperature times the entropy, which is below log 2. At this
        // temperature it is well within the tolerance.
        "sac" => vec!["temperature.initial=0.01".to_owned()],
        _ => Vec::new(),
    };
    // A gradient through categorical critics of three values moves the policy slowly at first.
    let steps = steps.or((algorithm == "sac").then_some(5000));
    let set = match steps {
        Some(205) => {
            let few = ["updates_per_step=0.2", "count_warmup=true"];
            [set, few.map(str::to_owned).to_vec()].concat()
        }
        _ => set,
    };
    let request = Request {
        algo: Some(algorithm.into()),
        env: Some(probe.name().into()),
        steps,
        set,
        ..Request::default()
    };
    resolve(&request).expect("a valid configuration")
}

/// The state in the last checkpoint of a run.
fn train_to_the_end(config: &Config, dims: [usize; 2], envs: Environments) -> StateDict {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let path = temporary.path().join("run");
    let folder = folder::create(Some(&path), config, folder::start(config, String::new()))
        .expect("a new folder");
    let (begin, interrupt) = (Begin::Fresh, Interrupt::default());
    let agent = fresh(config, dims);
    train(config, agent, envs, &folder, begin, &interrupt, &DEVICE).expect("a finished run");
    let last = Checkpoints::of(&path).find(Which::Last);
    let run = describe(config, dims.into(), 0, 0);
    let mut state = StateDict::default();
    let limits = Limits::new(&from_agent(fresh(config, dims).state()), &Arrays::new());
    checkpoint::load_agent(&last.expect("a checkpoint"), &run, limits, |loaded| {
        state = to_agent(loaded)?;
        Ok::<(), String>(())
    })
    .expect("a checkpoint of this run");
    state
}

fn learn(config: &Config) -> Learned {
    let envs = Environments::new(config).expect("the task exists");
    let dims = [envs.training.observation_dim(), envs.training.action_dim()];
    let state = train_to_the_end(config, dims, envs);
    examine(config, dims, &state).expect("the state fits its configuration")
}

/// An agent of `config` that has learned nothing.
fn fresh(config: &Config, dims: [usize; 2]) -> Box<dyn Agent<Flex>> {
    let agent = config.new_agent(dims.into(), &DEVICE);
    agent.expect("a built-in algorithm")
}

fn examine(config: &Config, dims: [usize; 2], state: &StateDict) -> Result<Learned, StateError> {
    let mut agent = fresh(config, dims);
    agent.load_state(state)?;
    let table = config.agent.settings.table();
    let number = |key: &str| table[key].as_float().expect("a number");
    // All algorithms have their critics from the same settings.
    let critic = config.agent.settings.table()["critic"].clone();
    let critic: CriticSettings = critic.try_into().expect("settings of critics");
    let key = rescore_kernels::NoiseKey::new(0, "like");
    let (shape, head) = (critic.network.shape(1.0), critic.value.head());
    let like = Critics::init(dims, critic.members, &shape, head, key, &DEVICE);
    Ok(Learned {
        agent,
        critics: state.tree("critics", &like)?,
        reward_scale: number("reward_scale"),
        gamma: number("gamma"),
    })
}

/// Values as rows of one number each.
fn column(values: &[f64]) -> Tensor<Flex, 2> {
    let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
    let shape = [values.len(), 1];
    Tensor::from_data(TensorData::new(values, shape), &DEVICE)
}

fn numbers<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Everything in which `learned` differs from the solution of `probe`.
fn differences(learned: &Learned, probe: ProbeKind) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: String, actual: f64, exact: f64, tolerance: f64| {
        let difference = (actual - exact).abs();
        // Written so that NaN is a difference.
        if difference.is_nan() || difference > tolerance {
            found.push(format!("{what} is {actual:.3}, not {exact:.3}"));
        }
    };
    for &observation in probe.observations() {
        let best = probe.optimal_action(observation);
        let actions = best.map_or(vec![-0.75, 0.0, 0.75], |action| vec![action]);
        for action in actions {
            let exact = probe.value(observation, action, learned.gamma);
            let both = learned
                .critics
                .values(column(&[observation]), column(&[action]));
            for (name, value) in ["q1", "q2"].into_iter().zip(numbers(both)) {
                let value = value / learned.reward_scale;
                let what = format!("{name}({observation}, {action})");
                compare(what, value, exact, VALUE_TOLERANCE);
            }
        }
        if let Some(best) = best {
            let action = numbers(learned.agent.act_deterministic(column(&[observation])))[0];
            let what = format!("the action at {observation}");
            compare(what, action, best, ACTION_TOLERANCE);
            // The chain's noise is a function of the observation, so observations next to it give
            // many samples of what is nearly one distribution. Their mean has a standard error of
            // 0.02.
            let near: Vec<_> = (0..512)
                .map(|i| observation + 1e-5 * f64::from(i))
                .collect();
            // One sample each, so that nothing is left to the critics.
            let Some(actions) = learned.agent.act_best_of(column(&near), 1) else {
                continue;
            };
            let actions = numbers(actions);
            let mean = actions.iter().sum::<f64>() / actions.len() as f64;
            let what = format!("the mean action of the policy alone at {observation}");
            compare(what, mean, best, POLICY_TOLERANCE);
        }
    }
    found
}

/// Requires that every algorithm solves `probe`; all that fail are named.
fn all_solve(probe: ProbeKind) {
    let failures: Vec<_> = Algorithm::all()
        .into_iter()
        .filter_map(|algorithm| {
            let learned = learn(&configuration(algorithm.name, probe, None));
            let differences = differences(&learned, probe);
            (!differences.is_empty()).then_some((algorithm.name, differences))
        })
        .collect();
    assert!(failures.is_empty(), "{}: {failures:#?}", probe.name());
}

#[test]
fn all_learn_a_constant_value() {
    all_solve(ProbeKind::ConstantReward);
}

#[test]
fn all_learn_a_value_that_depends_on_the_observation() {
    all_solve(ProbeKind::ObservationValue);
}

#[test]
fn all_learn_a_discounted_value() {
    all_solve(ProbeKind::Discounting);
}

#[test]
fn all_learn_the_best_action() {
    all_solve(ProbeKind::ActionReward);
}

#[test]
fn all_learn_the_best_action_for_each_observation() {
    all_solve(ProbeKind::ObservationActionReward);
}

/// What is claimed of a trained agent must not hold of every agent.
#[test]
fn an_agent_that_has_hardly_learned_solves_no_probe() {
    for algorithm in Algorithm::all() {
        for probe in ProbeKind::ALL {
            // Five after a warm-up of 200, and one update: a residual critic learns a constant in
            // five.
            let learned = learn(&configuration(algorithm.name, probe, Some(205)));
            let differences = differences(&learned, probe);
            assert!(!differences.is_empty(), "{algorithm:?} on {}", probe.name());
        }
    }
}
