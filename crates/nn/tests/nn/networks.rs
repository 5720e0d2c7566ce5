//! Residual stacks and networks with norms over the batch: outputs and gradients against f64, the
//! members of an ensemble against single networks.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{RescoreBackend, total};
use rescore_nn::{Network, Role, Shape, leaves, polyak, project_columns, value_and_grad};

use crate::{
    assert_close, changed, derivative, keys, normals,
    norms::{batch_norm, layer_norm},
    on_both_backends,
    reference::{Layer, wide},
    tensor, to_vec,
};

const MEMBERS: usize = 2;
const ROWS: usize = 7;
const INPUT: usize = 3;
const OUTPUT: usize = 2;

const RESIDUAL: Shape = Shape::Residual {
    width: 5,
    blocks: 2,
    head_gain: 1.0,
};

fn batch_norm_mlp() -> Shape {
    Shape::BatchNormMlp {
        hidden_dims: vec![6, 4],
    }
}

/// Random leaves throughout: what starts at 0 or 1 is moved.
fn network<B: Backend>(shape: &Shape) -> Network<B> {
    let (keys, device) = (keys("network", MEMBERS), B::Device::default());
    let network = Network::init(shape, [INPUT, OUTPUT], &keys, &device);
    changed(&network, |name, values| {
        let random = normals(name, values.len(), 0.2);
        values
            .iter_mut()
            .zip(random)
            .for_each(|(x, r)| *x += r.abs());
    })
}

fn inputs<B: Backend>() -> Tensor<B, 3> {
    tensor(normals("inputs", ROWS * INPUT, 1.0), [1, ROWS, INPUT])
}

/// The leaves of one member by name.
#[derive(Clone)]
struct Leaves(BTreeMap<String, Vec<f64>>);

impl Leaves {
    fn of<B: Backend>(network: &Network<B>, member: usize) -> Self {
        let leaves = leaves(network).into_iter();
        Self(
            leaves
                .map(|(name, _, leaf)| (name, wide(&leaf.narrow(0, member, 1))))
                .collect(),
        )
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let weight = self.0[&format!("{name}.weight")].clone();
        let bias = self.0.get(&format!("{name}.bias")).cloned();
        // the last layer and those of the residual stack have a bias; its length is the width
        let width = |depth: usize| weight.len() / depth;
        let depth = x.len() / ROWS;
        let layer = Layer {
            bias: bias.unwrap_or(vec![0.0; width(depth)]),
            weight,
        };
        x.chunks(depth).flat_map(|row| layer.forward(row)).collect()
    }

    fn norm(&self, name: &str, normal: fn(&[f64], usize) -> Vec<f64>, x: &[f64]) -> Vec<f64> {
        let [g, b] = ["scale", "shift"].map(|leaf| &self.0[&format!("{name}.{leaf}")]);
        let normal = normal(x, g.len()).into_iter().enumerate();
        normal
            .map(|(i, h)| h * g[i % g.len()] + b[i % g.len()])
            .collect()
    }

    fn residual(&self, x: &[f64]) -> Vec<f64> {
        let mut x = self.linear("in", x);
        for block in 0..2 {
            let inside = self.norm(&format!("ln{block}"), layer_norm, &x);
            let inside = relu(self.linear(&format!("up{block}"), &inside));
            let outside = self.linear(&format!("down{block}"), &inside);
            x.iter_mut().zip(outside).for_each(|(x, more)| *x += more);
        }
        self.linear("head", &self.norm("ln_out", layer_norm, &x))
    }

    fn batch_norm_mlp(&self, x: &[f64]) -> Vec<f64> {
        let mut x = self.norm("bn_in", batch_norm, x);
        for layer in 0..2 {
            let z = self.linear(&format!("l{layer}"), &x);
            x = relu(self.norm(&format!("bn{layer}"), batch_norm, &z));
        }
        self.linear("head", &x)
    }
}

fn relu(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(|x| x.max(0.0)).collect()
}

/// Outputs in training mode, and the gradient of half the sum of their squares, every entry of every
/// leaf of every member.
fn check<B: RescoreBackend>(shape: &Shape, exact: fn(&Leaves, &[f64]) -> Vec<f64>) {
    let network = network::<B>(shape);
    let (_, gradient, output) = value_and_grad(&network, |network| {
        let (output, _) = network.forward_training(inputs());
        let loss = total(output.clone() * output.clone()).mul_scalar(0.5);
        (loss, output.inner())
    });
    let x = wide(&inputs::<B>());
    let loss = |leaves: &Leaves| 0.5 * exact(leaves, &x).iter().map(|y| y * y).sum::<f64>();
    for member in 0..MEMBERS {
        let exact_leaves = Leaves::of(&network, member);
        let found = to_vec(output.clone().narrow(0, member, 1));
        assert_close(&found, &exact(&exact_leaves, &x), 1e-5, "output");
        for (name, role, leaf) in leaves(&gradient) {
            let found = to_vec(leaf.narrow(0, member, 1));
            let by_entry = |i: usize| {
                derivative(|h| {
                    let mut moved = exact_leaves.clone();
                    if let Some(leaf) = moved.0.get_mut(&name) {
                        leaf[i] += h;
                    }
                    loss(&moved)
                })
            };
            let expected: Vec<f64> = (0..found.len()).map(by_entry).collect();
            if role.is_trained() {
                // In units of the largest: norms of a few columns amplify roundings of f32.
                let largest = expected.iter().fold(1.0_f64, |a, b| a.max(b.abs()));
                let found: Vec<f32> = found.iter().map(|g| g / largest as f32).collect();
                let expected: Vec<f64> = expected.iter().map(|g| g / largest).collect();
                assert_close(&found, &expected, 3e-4, &name);
            } else {
                let none = expected.iter().all(|g| g.abs() < 1e-5);
                assert!(none, "{name} has a gradient, but is not trained");
                assert!(found.iter().all(|g| *g == 0.0), "{name} has a gradient");
            }
        }
    }
}

fn a_residual_stack_has_its_value_and_gradient<B: RescoreBackend>() {
    check::<B>(&RESIDUAL, Leaves::residual);
}

fn a_batch_norm_network_has_its_value_and_gradient<B: RescoreBackend>() {
    check::<B>(&batch_norm_mlp(), Leaves::batch_norm_mlp);
}

/// An ensemble is its members side by side, whether they share the input or not.
fn members_do_not_touch_each_other<B: RescoreBackend>() {
    for shape in [RESIDUAL, batch_norm_mlp()] {
        let network = network::<B>(&shape);
        assert_eq!(network.members(), MEMBERS);
        assert_eq!([network.input_dim(), network.output_dim()], [INPUT, OUTPUT]);
        let shared = inputs::<B>();
        let own = Tensor::cat(vec![shared.clone(), shared.clone().mul_scalar(-0.5)], 0);
        for x in [shared, own] {
            let together = network.forward(x.clone());
            let (trained, statistics) = network.forward_training(x.clone());
            let mut after = network.clone();
            statistics.put_into(&mut after);
            for member in 0..MEMBERS {
                let single =
                    |network: &Network<B>| tree_map(network, |leaf| leaf.narrow(0, member, 1));
                let x = x.clone().narrow(0, member.min(x.dims()[0] - 1), 1);
                let alone = single(&network).forward(x.clone());
                let part = together.clone().narrow(0, member, 1);
                assert_close(&to_vec(part), &wide(&alone), 1e-6, "forward");
                let (alone, statistics) = single(&network).forward_training(x);
                let part = trained.clone().narrow(0, member, 1);
                assert_close(&to_vec(part), &wide(&alone), 1e-5, "training");
                let mut alone = single(&network);
                statistics.put_into(&mut alone);
                for ((name, _, a), (.., b)) in
                    leaves(&single(&after)).into_iter().zip(leaves(&alone))
                {
                    assert_close(&to_vec(a), &wide(&b), 1e-6, &name);
                }
            }
        }
    }
}

fn tree_map<B: Backend>(
    network: &Network<B>,
    f: impl Fn(Tensor<B, 3>) -> Tensor<B, 3>,
) -> Network<B> {
    use rescore_nn::Tree as _;
    network.map::<B>("", &mut |_, tensor| f(tensor.clone()))
}

/// Statistics go into their own leaves and change no other.
fn new_statistics_replace_the_old_ones<B: RescoreBackend>() {
    let before = network::<B>(&batch_norm_mlp());
    let (output, statistics) = before.forward_training(inputs());
    let mut after = before.clone();
    statistics.put_into(&mut after);
    for ((name, role, new), (.., old)) in leaves(&after).into_iter().zip(leaves(&before)) {
        let same = to_vec(new) == to_vec(old);
        assert_eq!(same, role != Role::Statistic, "{name}");
    }
    // Training mode does not look at them, inference does.
    let again = to_vec(after.forward_training(inputs()).0);
    assert_eq!(again, to_vec(output));
    let [old, new] = [&before, &after].map(|n| to_vec(n.forward(inputs())));
    assert_ne!(old, new);
}

/// After some two thousand equal batches inference gives what training gives.
fn statistics_converge_to_those_of_the_batch<B: RescoreBackend>() {
    let mut network = network::<B>(&batch_norm_mlp());
    for _ in 0..2000 {
        let (_, statistics) = network.forward_training(inputs());
        statistics.put_into(&mut network);
    }
    let (training, _) = network.forward_training(inputs());
    let inference = to_vec(network.forward(inputs()));
    assert_close(&inference, &wide(&training), 1e-4, "inference");
}

/// Where a norm over the batch follows, the scale of the weights does not matter; columns have norm
/// 1 from the start, and after every projection.
fn projection_leaves_columns_of_norm_1<B: RescoreBackend>() {
    let (keys, device) = (keys("projection", MEMBERS), B::Device::default());
    let fresh = Network::init(&batch_norm_mlp(), [INPUT, OUTPUT], &keys, &device);
    let mut projected = network::<B>(&batch_norm_mlp());
    let before = projected.clone();
    project_columns(&mut projected);
    for network in [&fresh, &projected] {
        for (name, role, leaf) in leaves(network) {
            if role == Role::Weight {
                let norms = (leaf.clone() * leaf).sum_dim(1);
                let ones = vec![1.0; norms.shape().num_elements()];
                assert_close(&to_vec(norms), &ones, 2e-6, &name);
            }
        }
    }
    for ((name, role, new), (.., old)) in leaves(&projected).into_iter().zip(leaves(&before)) {
        assert_eq!(to_vec(new) == to_vec(old), role != Role::Weight, "{name}");
    }
}

/// The gains of a residual stack's layers, and the scale of its outputs with them.
fn residual_weights_start_orthogonal<B: RescoreBackend>() {
    let shape = Shape::Residual {
        width: 8,
        blocks: 1,
        head_gain: 0.1,
    };
    let (keys, device) = (keys("orthogonal", MEMBERS), B::Device::default());
    let network = Network::<B>::init(&shape, [INPUT, OUTPUT], &keys, &device);
    for (name, role, leaf) in leaves(&network) {
        let values = wide(&leaf);
        if role != Role::Weight {
            let start = if role == Role::Scale { 1.0 } else { 0.0 };
            assert_eq!(values, vec![start; values.len()], "{name}");
            continue;
        }
        let gain = match name.as_str() {
            "up0.weight" => 2.0_f64.sqrt(),
            "head.weight" => 0.1,
            _ => 1.0,
        };
        let [members, rows, columns] = leaf.dims();
        let squares: f64 = values.iter().map(|w| w * w).sum();
        let expected = gain * gain * (members * rows.min(columns)) as f64;
        assert!((squares / expected - 1.0).abs() < 1e-5, "{name}: {squares}");
    }
}

/// A target that follows with rate 1 is a copy, statistics included.
fn targets_are_of_the_same_kind<B: RescoreBackend>() {
    for shape in [RESIDUAL, batch_norm_mlp()] {
        let online = network::<B>(&shape);
        let mut target = tree_map(&online, |leaf| leaf.zeros_like());
        polyak(&mut target, &online, 1.0);
        let [target, online] = [target, online].map(|n| to_vec(n.forward(inputs())));
        assert_eq!(target, online);
    }
}

on_both_backends!(
    a_residual_stack_has_its_value_and_gradient,
    a_batch_norm_network_has_its_value_and_gradient,
    members_do_not_touch_each_other,
    new_statistics_replace_the_old_ones,
    statistics_converge_to_those_of_the_batch,
    projection_leaves_columns_of_norm_1,
    residual_weights_start_orthogonal,
    targets_are_of_the_same_kind,
);
