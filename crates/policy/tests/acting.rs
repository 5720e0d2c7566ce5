//! Acting: units, kinds, the choice among particles.

mod samples;

use rescore_policy::description::{
    Activation, Combine, Critics, NetworkKind, PolicyKind, ValueHead,
};
use rescore_policy::{Policy, Tensor, write};
use samples::{OBSERVATION, Sample, all, diffusion, gaussian};

fn build((description, tensors): &Sample) -> Policy {
    let file = write(description, tensors).expect("the sample is sound");
    Policy::from_bytes(&file).expect("what is written can be read")
}

fn act(sample: &Sample) -> Vec<f32> {
    let action = build(sample).act_in_units(&OBSERVATION);
    action.expect("the observation is sound")
}

#[test]
fn files_are_read_as_they_were_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (description, tensors) in all() {
        let path = folder.path().join("policy.safetensors");
        let file = write(&description, &tensors).expect("the sample is sound");
        std::fs::write(&path, file).expect("the folder is writable");
        let policy = Policy::load(&path).expect("the file is sound");
        assert_eq!(*policy.description(), description);
        assert_eq!((policy.observation_dim(), policy.action_dim()), (3, 2));
    }
}

#[test]
fn actions_in_the_tasks_units_lie_between_its_bounds() {
    for sample in all() {
        let policy = build(&sample);
        for i in 0..50 {
            let observation = [0.3, -0.1, 0.2].map(|x| x * i as f32);
            let units = policy.act_in_units(&observation).expect("sound");
            let action = policy.act(&observation).expect("sound");
            assert_eq!(action, [2.0 * units[0], 5.0 + 5.0 * units[1]]);
            assert!(units.iter().all(|a| (-1.0..=1.0).contains(a)), "{units:?}");
            assert_eq!(
                policy.act(&observation).expect("sound"),
                action,
                "deterministic"
            );
        }
    }
}

#[test]
fn a_gaussian_acts_by_its_mean() {
    let (mut description, mut tensors) = gaussian();
    let mean = act(&(description.clone(), tensors.clone()));
    // The log standard deviation is the second half and changes nothing.
    for name in ["policy.head.weight", "policy.head.bias"] {
        let tensor = tensors.get_mut(name).expect("it is in the sample");
        for row in tensor.values.chunks_exact_mut(4) {
            row[2..].fill(7.0);
        }
    }
    assert_eq!(act(&(description.clone(), tensors.clone())), mean);
    // A deterministic policy of the first half alone acts in the same way.
    for name in ["policy.head.weight", "policy.head.bias"] {
        let tensor = tensors.get_mut(name).expect("it is in the sample");
        let rows = tensor.values.chunks_exact(4);
        tensor.values = rows.flat_map(|row| row[..2].to_vec()).collect();
        tensor.shape[2] = 2;
    }
    let network = NetworkKind::Residual { blocks: 1 };
    description.policy = PolicyKind::Deterministic { network };
    assert_eq!(act(&(description, tensors)), mean);
}

#[test]
fn observations_are_normalised_and_clipped() {
    let (mut description, tensors) = gaussian();
    let normalised = [(0.2 - 0.1) / 1.0, -10.0, (1.5 - 1.0 / 3.0) / 2.0];
    let with = act(&(description.clone(), tensors.clone()));
    description.observation_normalizer = None;
    let without = build(&(description, tensors)).act_in_units(&normalised);
    for (a, b) in with.iter().zip(without.expect("sound")) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

/// The best of `count` particles, which compare by their first component, by two critics whose outputs are the action's first component times
/// each of `slopes`.
fn best_of(
    count: usize,
    seed: u64,
    slopes: &[[f32; 2]],
    head: ValueHead,
    combine: Combine,
) -> Vec<f32> {
    let (mut description, mut tensors) = diffusion();
    description.seed = seed;
    tensors.retain(|name, _| !name.starts_with("critics."));
    let outputs = slopes.len();
    let weight = (0..2).flat_map(|member| {
        let row = slopes.iter().map(move |slopes| slopes[member]);
        vec![0.0; 3 * outputs]
            .into_iter()
            .chain(row)
            .chain(vec![0.0; outputs])
    });
    let mut put = |name: &str, rows: usize, values: Vec<f32>| {
        let shape = [2, rows, outputs];
        tensors.insert(format!("critics.l0.{name}"), Tensor { shape, values });
    };
    put("weight", 5, weight.collect());
    put("bias", 1, vec![0.0; 2 * outputs]);
    if let PolicyKind::Diffusion {
        particles, critics, ..
    } = &mut description.policy
    {
        *particles = count;
        *critics = Some(Critics {
            members: 2,
            network: NetworkKind::Mlp {
                layers: 1,
                activation: Activation::Relu,
            },
            head,
            combine,
        });
    }
    act(&(description, tensors))
}

#[test]
fn critics_choose_among_particles() {
    use Combine::{Mean, Min};
    let scalar = ValueHead::Scalar;
    for seed in 0..4 {
        let largest = best_of(32, seed, &[[1.0, 3.0]], scalar, Min);
        let smallest = best_of(32, seed, &[[1.0, -3.0]], scalar, Mean);
        let middle = best_of(32, seed, &[[1.0, -3.0]], scalar, Min);
        assert!(
            smallest < middle && middle < largest,
            "{smallest:?} {middle:?} {largest:?}"
        );
        assert!(middle[0].abs() < largest[0].abs().min(smallest[0].abs()));
        assert_eq!(best_of(32, seed, &[[3.0, -1.0]], scalar, Mean), largest);

        // More particles of a stream contain the fewer; with equal scores the first is taken.
        let of = |count| best_of(count, seed, &[[1.0, 1.0]], scalar, Min);
        assert!(of(1) <= of(2) && of(2) <= of(8) && of(8) <= of(32));
        assert_eq!(best_of(32, seed, &[[0.0, 0.0]], scalar, Mean), of(1));

        // The second atom is the likelier, the larger the action.
        let two = [[0.0, 0.0], [1.0, 3.0]];
        let atoms = |low, high| ValueHead::Categorical { low, high };
        assert_eq!(best_of(32, seed, &two, atoms(-1.0, 1.0), Min), largest);
        // The outer two of three atoms are always as likely as each other: every value is 0.
        let three = [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]];
        assert_eq!(best_of(32, seed, &three, atoms(-3.0, 3.0), Mean), of(1));
    }
}

#[test]
fn negative_zero_is_zero() {
    let (mut description, tensors) = diffusion();
    description.observation_normalizer = None;
    let policy = build(&(description, tensors));
    let (plus, minus) = (policy.act(&[0.0, 0.5, 1.0]), policy.act(&[-0.0, 0.5, 1.0]));
    assert_eq!(plus.expect("sound"), minus.expect("sound"));
}
