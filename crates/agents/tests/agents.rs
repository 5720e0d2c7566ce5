//! What every algorithm owes the training loop: its state comes and goes whole, its randomness is
//! a function of seed and counters, and settings that only save work change no result.

use burn::backend::{Flex, flex::FlexDevice};
use burn::tensor::{Tensor, TensorData};
use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};
use rescore_agents::{
    Acting, Agent, AgentSettings, Algorithm, Array, Batch, Metrics, Pace, PolicyKind, Setup,
    StateDict, StateError,
};
use rescore_kernels::NoiseKey;

const OBSERVATION_DIM: usize = 3;
const ACTION_DIM: usize = 2;
const DEVICE: FlexDevice = FlexDevice;

type Boxed = Box<dyn Agent<Flex>>;

/// The defaults of `algorithm` with small networks and few samples, and `more` keys on top.
fn configuration(algorithm: &'static Algorithm, more: &str) -> AgentSettings {
    let mut table = algorithm.defaults().table();
    let small = "
        critic.network.hidden_dims = [17, 9]
        critic.network.width = 17
        critic.value.atoms = 11
        actor.network.hidden_dims = [17, 9]
        actor.denoising_steps = 4
        particles = 3
        regression.particles = 3
        acting.particles = 2
        acting.evaluation_particles = 3
        temperature_every = 2
        reverse_samples = 5
        value.network.hidden_dims = [17, 9]
        evaluation_particles = 3
        train_samples = 4
        samples = 3
        candidates = 3
        ascent_steps = 2
        entropy_rows = 2
        sde.steps = 4
    ";
    for text in [small, more] {
        merge(&mut table, text.parse().expect("TOML"));
    }
    let settings = algorithm.parse(table).expect("the keys of the algorithm");
    settings.validate(Pace::default()).expect("valid settings");
    settings
}

/// Puts the values of `from` into `table` where it has their keys; a table of another kind is
/// replaced.
fn merge(table: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(from)) => {
                match (inner.contains_key("kind"), from.contains_key("kind")) {
                    (true, true) => *inner = from,
                    (false, true) => {}
                    _ => merge(inner, from),
                }
            }
            (Some(known), value) => *known = value,
            (None, _) => {}
        }
    }
}

/// The algorithms with a diffusion policy.
fn diffusion() -> impl Iterator<Item = &'static Algorithm> {
    let is = |algorithm: &&'static Algorithm| {
        let sizes = algorithm.defaults().outline().sizes;
        sizes.is_some_and(|sizes| sizes.policy == PolicyKind::Denoiser)
    };
    Algorithm::all().into_iter().filter(is)
}

fn build(settings: &AgentSettings, seed: u64) -> Boxed {
    let setup = Setup {
        dims: [OBSERVATION_DIM, ACTION_DIM],
        seed,
        updates: 100,
        pace: Pace::default(),
        device: &DEVICE,
    };
    settings.build(&setup).expect("a built-in algorithm")
}

fn normals(name: &str, rows: usize, columns: usize) -> Tensor<Flex, 2> {
    let mut values = vec![0.0; rows * columns];
    NoiseKey::new(9, name).fill_normals(&mut values, columns, 0, 0, 0);
    Tensor::from_data(TensorData::new(values, [rows, columns]), &DEVICE)
}

fn batch(number: u64, rows: usize) -> Batch<Flex> {
    let draw = |name: &str, columns| normals(&format!("{name} {number}"), rows, columns);
    let terminated = (0..rows).map(|row| f32::from(u8::from(row % 5 == 0)));
    Batch {
        observations: draw("observations", OBSERVATION_DIM),
        actions: draw("actions", ACTION_DIM),
        rewards: draw("rewards", 1).squeeze_dim(1),
        next_observations: draw("next observations", OBSERVATION_DIM),
        terminated: Tensor::from_data(
            TensorData::new(terminated.collect::<Vec<_>>(), [rows]),
            &DEVICE,
        ),
    }
}

/// An agent after `updates` updates on the batches 0, 1, ...
fn trained(config: &AgentSettings, seed: u64, updates: u64) -> Boxed {
    let mut agent = build(config, seed);
    for number in 0..updates {
        let _ = agent.update(&batch(number, 16));
    }
    agent
}

fn observations(rows: usize) -> Tensor<Flex, 2> {
    normals("acting", rows, OBSERVATION_DIM)
}

fn to_vec(tensor: Tensor<Flex, 2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// `state` with `change` applied to each array; arrays for which it gives nothing are left out.
fn changed(state: &StateDict, mut change: impl FnMut(&str, &Array) -> Option<Array>) -> StateDict {
    let mut result = StateDict::default();
    for (name, array) in state.iter() {
        if let Some(array) = change(name, array) {
            result.insert(name, array);
        }
    }
    result
}

/// The names of the arrays in which two states differ.
fn differing<'a>(a: &'a StateDict, b: &StateDict) -> Vec<&'a str> {
    assert_eq!(a.iter().count(), b.iter().count());
    a.iter()
        .filter(|(name, array)| b.get(name) != Some(array))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn a_restored_agent_goes_on_as_the_stored_one_would() {
    for algorithm in Algorithm::all() {
        let config = configuration(algorithm, "");
        let mut original = trained(&config, 1, 3);
        // An agent of the same run that has learned something else.
        let mut restored = build(&config, 1);
        for number in 100..105 {
            let _ = restored.update(&batch(number, 16));
        }
        restored
            .load_state(&original.state())
            .expect("its own kind of state");
        assert_eq!(restored.updates(), 3);
        for _ in 0..2 {
            let [a, b] = [&original, &restored].map(|agent| to_vec(agent.act(observations(7), 5)));
            assert_eq!(a, b, "{algorithm:?} acts differently");
            let [a, b] = [&original, &restored]
                .map(|agent| to_vec(agent.act_deterministic(observations(7))));
            assert_eq!(a, b, "{algorithm:?} is evaluated differently");
            let [a, b] =
                [&mut original, &mut restored].map(|agent| agent.update(&batch(50, 16)).read());
            assert_eq!(a, b, "{algorithm:?} learns differently");
            let (a, b) = (original.state(), restored.state());
            assert_eq!(differing(&a, &b), Vec::<&str>::new(), "{algorithm:?}");
        }
    }
}

/// The seed belongs to the run and is not part of the state.
#[test]
fn an_agent_of_another_seed_takes_the_whole_state() {
    for algorithm in Algorithm::all() {
        let config = configuration(algorithm, "");
        let original = trained(&config, 1, 3).state();
        let mut other = build(&config, 2);
        assert_ne!(differing(&original, &other.state()), Vec::<&str>::new());
        other.load_state(&original).expect("its own kind of state");
        assert_eq!(other.state(), original, "{algorithm:?}");
    }
}

/// Requires that `state` is refused with `error` and that the agent stays as it was.
fn refuses(agent: &mut Boxed, state: &StateDict, error: &StateError) {
    let before = agent.state();
    assert_eq!(agent.load_state(state).as_ref(), Err(error));
    assert_eq!(differing(&before, &agent.state()), Vec::<&str>::new());
}

#[test]
fn a_state_that_does_not_fit_is_refused_by_name_and_changes_nothing() {
    for algorithm in Algorithm::all() {
        let config = configuration(algorithm, "");
        let stored = trained(&config, 1, 3).state();
        let mut agent = build(&config, 2);
        let names: Vec<String> = stored.iter().map(|(name, _)| name.to_owned()).collect();
        assert!(names.len() > 20, "there is little to test: {names:?}");
        for name in &names {
            let without = changed(&stored, |other, array| {
                (other != name).then(|| array.clone())
            });
            refuses(&mut agent, &without, &StateError::Missing(name.clone()));

            let mut error = None;
            let misshapen = changed(&stored, |other, array| {
                if other != name {
                    return Some(array.clone());
                }
                let expected = match array {
                    Array::F32(shape, _) => shape.clone(),
                    Array::U64(_) => vec![1],
                };
                error = Some(StateError::Shape {
                    name: name.clone(),
                    found: vec![1, 4],
                    expected,
                });
                Some(Array::F32(vec![1, 4], vec![0.0; 4]))
            });
            refuses(&mut agent, &misshapen, &error.expect("the array exists"));
        }
        let mut with_more = stored.clone();
        with_more.insert("policy.l9.weight", Array::F32(vec![1], vec![0.0]));
        let unknown = StateError::Unknown("policy.l9.weight".to_owned());
        refuses(&mut agent, &with_more, &unknown);
    }
}

#[test]
fn acting_is_a_function_of_seed_and_counter() {
    for algorithm in Algorithm::all() {
        let config = configuration(algorithm, "");
        let act = |seed, counter| to_vec(build(&config, seed).act(observations(5), counter));
        assert_eq!(act(1, 4), act(1, 4), "{algorithm:?}");
        assert_ne!(
            act(1, 4),
            act(1, 5),
            "{algorithm:?}: the counter has no effect"
        );
        let agent = build(&config, 1);
        let first = to_vec(agent.act(observations(5), 4));
        let _ = agent.act(observations(5), 5);
        let _ = agent.act_deterministic(observations(5));
        let again = to_vec(agent.act(observations(5), 4));
        assert_eq!(first, again, "{algorithm:?} remembers earlier acts");
        // Weights of one seed, random numbers of another.
        let mut other = build(&config, 2);
        other
            .load_state(&agent.state())
            .expect("its own kind of state");
        let other = to_vec(other.act(observations(5), 4));
        assert_ne!(first, other, "{algorithm:?}: the seed has no effect");
    }
}

/// Up to the rounding of matrix products, which may sum in another order for another number of
/// rows.
#[test]
fn a_deterministic_action_depends_on_its_observation_alone() {
    for algorithm in Algorithm::all() {
        let agent = trained(&configuration(algorithm, ""), 1, 4);
        let rows = 40;
        let together = to_vec(agent.act_deterministic(observations(rows)));
        assert!(together.iter().all(|a| (-1.0..=1.0).contains(a)));
        for row in 0..rows {
            let alone = observations(rows).narrow(0, row, 1);
            let alone = to_vec(agent.act_deterministic(alone));
            for (a, b) in alone.iter().zip(&together[row * ACTION_DIM..]) {
                assert!((a - b).abs() < 1e-6, "{algorithm:?}, row {row}: {a} {b}");
            }
        }
        let far = agent.act_deterministic(observations(rows).mul_scalar(100.0));
        let far = to_vec(far);
        assert!(
            far.iter().all(|a| (-1.0..=1.0).contains(a)),
            "{algorithm:?}: {far:?}"
        );
    }
}

#[test]
fn one_particle_is_enough() {
    for algorithm in diffusion() {
        let few = "
            particles = 1
            regression.particles = 1
            reverse_samples = 1
            acting.particles = 1
            acting.evaluation_particles = 1
            evaluation_particles = 1
            train_samples = 1
            target_samples = 1
            behaviour_samples = 1
            samples = 1
            candidates = 1
            temperature = { kind = \"fixed\", value = 1.0 }
        ";
        let config = configuration(algorithm, few);
        let mut agent = trained(&config, 1, 4);
        let metrics = agent.update(&batch(4, 16)).read();
        assert!(
            metrics.iter().all(|(_, value)| value.is_finite()),
            "{metrics:?}"
        );
        let action = agent.act_deterministic(observations(3));
        assert_eq!(action.dims(), [3, ACTION_DIM]);
        assert!(to_vec(action).iter().all(|a| (-1.0..=1.0).contains(a)));
    }
}

#[test]
fn metrics_keep_what_newer_ones_do_not_have() {
    let tensor = |values: &[f32]| Tensor::<Flex, 1>::from_floats(values, &DEVICE);
    let mut metrics = Metrics::default();
    metrics.push("loss", tensor(&[7.0]));
    metrics.push_distribution("w", tensor(&[1.0, 2.0, 6.0]));
    metrics.push_mean("q", tensor(&[2.0, 4.0]));
    let mut newer = Metrics::default();
    newer.push_mean("q", tensor(&[-1.0, -2.0]));
    newer.push("loss", tensor(&[8.0]));
    newer.push("temperature", tensor(&[0.5]));
    metrics.merge(newer);
    let read = metrics.read();
    let names: Vec<_> = read.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "loss",
            "w_mean",
            "w_std",
            "w_min",
            "w_max",
            "q",
            "temperature"
        ]
    );
    let values: Vec<_> = read.iter().map(|(_, value)| *value).collect();
    let std = (14.0_f32 / 3.0).sqrt();
    for (value, expected) in values.iter().zip([8.0, 3.0, std, 1.0, 6.0, -1.5, 0.5]) {
        assert!((value - expected).abs() < 1e-6, "{read:?}");
    }
}

/// The policy steps on updates 0, 2, 4, ..., targets and a policy that is held every third time here,
/// the critics always.
#[test]
fn policy_and_targets_step_when_they_are_due() {
    for algorithm in diffusion() {
        let due = "
            policy_delay = 2
            policy_every = 2
            target = { kind = \"rate\", tau = 0.1, every = 3 }
            old_policy = { kind = \"held\", environment_steps = 3.0 }
        ";
        let config = configuration(algorithm, due);
        let table = config.table();
        let delayed = ["policy_delay", "policy_every"].iter();
        let of_policy = if delayed.clone().any(|key| table.contains_key(*key)) {
            2
        } else {
            1
        };
        let mut agent = build(&config, 1);
        for number in 0..7 {
            let before = agent.state();
            let _ = agent.update(&batch(number, 16));
            let after = agent.state();
            let moved = differing(&before, &after);
            let has = |prefix: &str| moved.iter().any(|name| name.starts_with(prefix));
            for (prefix, every) in [
                ("critics.", 1),
                ("critic_optimizer.", 1),
                ("policy.", of_policy),
                ("policy_optimizer.", of_policy),
                ("target_policy.", 3),
                ("target_critics.", 3),
                ("old_policy.", 3),
            ] {
                if !before.iter().any(|(name, _)| name.starts_with(prefix)) {
                    assert!(["target_policy.", "old_policy."].contains(&prefix));
                    continue;
                }
                let due = number % every == 0;
                assert_eq!(has(prefix), due, "{algorithm:?}, update {number}: {prefix}");
            }
        }
    }
}

#[test]
fn one_seed_is_one_result() {
    for algorithm in Algorithm::all() {
        let config = configuration(algorithm, "");
        let [a, b, other] = [1, 1, 2].map(|seed| trained(&config, seed, 4).state());
        assert_eq!(differing(&a, &b), Vec::<&str>::new(), "{algorithm:?}");
        assert_ne!(differing(&a, &other), Vec::<&str>::new(), "{algorithm:?}");
    }
}

/// Sizes at which matrix products and kernels are split among threads.
#[test]
fn the_number_of_threads_changes_no_bit() -> Result<(), ThreadPoolBuildError> {
    for algorithm in Algorithm::all() {
        let wide = "
            critic.network.hidden_dims = [130, 130]
            critic.network.width = 130
            actor.network.hidden_dims = [130, 130]
        ";
        let config = configuration(algorithm, wide);
        let run = |threads| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
            Ok(pool.install(|| {
                let mut agent = build(&config, 1);
                for number in 0..3 {
                    let _ = agent.update(&batch(number, 300));
                }
                let actions = to_vec(agent.act(observations(300), 0));
                (agent.state(), actions)
            }))
        };
        let (one, one_actions) = run(1)?;
        for threads in [2, 3] {
            let (more, actions) = run(threads)?;
            assert_eq!(differing(&one, &more), Vec::<&str>::new(), "{algorithm:?}");
            assert_eq!(one_actions, actions, "{algorithm:?}");
        }
    }
    Ok(())
}

/// An ensemble of any size learns, each member by itself: the first two of three critics take the
/// steps that they would take as twins where their target does not depend on the others.
#[test]
fn critics_of_any_number_learn() {
    for algorithm in Algorithm::all() {
        for members in [1, 3] {
            let more = format!("critic.members = {members}\ncritic.combine = \"mean\"");
            let config = configuration(algorithm, &more);
            let mut agent = trained(&config, 1, 2);
            let metrics = agent.update(&batch(2, 16)).read();
            let losses = metrics.iter().filter(|(name, _)| name.ends_with("_loss"));
            let losses: Vec<_> = losses.filter(|(name, _)| name.starts_with('q')).collect();
            assert_eq!(losses.len(), members, "{algorithm:?}: {metrics:?}");
            assert!(
                metrics.iter().all(|(_, value)| value.is_finite()),
                "{metrics:?}"
            );
            let critics = agent.state();
            let mut names = ["critics.l0.weight", "critics.in.weight"].iter();
            let Some(Array::F32(shape, _)) = names.find_map(|name| critics.get(name)) else {
                panic!("{algorithm:?} has no critics");
            };
            assert_eq!(shape[..], [members, OBSERVATION_DIM + ACTION_DIM, 17]);
        }
    }
}

/// A name can be registered once, and stands for its settings from then on.
#[test]
fn an_algorithm_of_ones_own_is_known_by_its_name() {
    use rescore_agents::td3::Td3Settings;
    let own = || Algorithm::of::<Td3Settings>("own", "TD3 by another name");
    own()
        .on::<Td3Settings, Flex>()
        .register()
        .expect("a new name");
    let error = own().register().expect_err("taken");
    assert!(error.to_string().contains("`own` is registered already"));
    let algorithm = Algorithm::find("own").expect("registered");
    let mut agent = build(&configuration(algorithm, ""), 1);
    let _ = agent.update(&batch(0, 16));
    assert_eq!(agent.updates(), 1);
}

/// More samples have better values by the critics that choose, of every stochastic policy; each choice
/// is a function of its observation alone.
#[test]
fn the_best_of_more_samples_is_better() {
    for algorithm in Algorithm::all() {
        let agent = trained(&configuration(algorithm, ""), 1, 4);
        let rows = 40;
        let values = |count| {
            let actions = agent.act_best_of(observations(rows), count)?;
            assert!(to_vec(actions.clone()).iter().all(|a| a.abs() <= 1.0));
            let judges = match agent.acting()? {
                Acting::Diffusion(best_of) => best_of.judges.clone(),
                Acting::Gaussian { judges, .. } => judges.clone(),
                Acting::Deterministic(_) => return None,
            };
            Some(to_vec(
                judges.score(observations(rows), actions.unsqueeze_dim(1)),
            ))
        };
        let (Some(one), Some(many)) = (values(1), values(16)) else {
            let sizes = algorithm
                .defaults()
                .outline()
                .sizes
                .expect("sizes are given");
            assert_eq!(sizes.policy, PolicyKind::Deterministic, "{algorithm:?}");
            continue;
        };
        // The first sample is among the sixteen.
        let pairs = one.iter().zip(&many);
        assert!(
            pairs.clone().all(|(one, many)| *many >= one - 1e-5),
            "{algorithm:?}"
        );
        assert!(
            pairs.into_iter().any(|(one, many)| many > one),
            "{algorithm:?}"
        );
        let alone = agent.act_best_of(observations(rows).narrow(0, 7, 1), 16);
        let together = agent
            .act_best_of(observations(rows), 16)
            .map(|all| all.narrow(0, 7, 1));
        let [alone, together] = [alone, together].map(|a| to_vec(a.expect("it has samples")));
        for (a, b) in alone.iter().zip(&together) {
            assert!((a - b).abs() < 1e-6, "{algorithm:?}: {a} {b}");
        }
    }
}
