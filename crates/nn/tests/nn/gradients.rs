//! Gradients of whole networks, and the moving average.

use burn::{
    backend::Autodiff,
    tensor::{Tensor, backend::Backend},
};
use rescore_kernels::{Activation, RescoreBackend, total};
use rescore_nn::{
    BatchNormMlp, Initializer, Mlp, Role, freeze, input_gradient, leaves, polyak, value_and_grad,
};

use crate::{
    assert_close, derivative, keys, normals, on_both_backends,
    reference::{Layer, Network, wide},
    tensor, to_vec,
};

const ROWS: usize = 9;
const DIMS: [usize; 4] = [3, 7, 5, 2];
const MEMBERS: usize = 2;

fn network<B: Backend>(activation: Activation, name: &str) -> Mlp<B> {
    let (keys, device) = (keys(name, MEMBERS), B::Device::default());
    Mlp::init(&DIMS, activation, Initializer::LecunNormal, &keys, &device)
}

/// Shared by the members.
fn inputs<B: Backend>() -> Tensor<B, 3> {
    tensor(normals("inputs", ROWS * DIMS[0], 1.0), [1, ROWS, DIMS[0]])
}

fn targets<B: Backend>() -> Tensor<B, 3> {
    tensor(normals("targets", ROWS * DIMS[3], 1.0), [1, ROWS, DIMS[3]])
}

/// Mean squared error of one member in f64.
fn loss(network: &Network, inputs: &[f64], targets: &[f64]) -> f64 {
    let rows = inputs.chunks(DIMS[0]).zip(targets.chunks(DIMS[3]));
    let errors = rows.flat_map(|(x, y)| {
        let output = network.forward(x);
        output
            .into_iter()
            .zip(y)
            .map(|(o, y)| (o - y).powi(2))
            .collect::<Vec<_>>()
    });
    errors.sum::<f64>() / targets.len() as f64
}

/// Derivatives with respect to every value that `get` selects of layer `layer`.
fn derivatives(network: &Network, layer: usize, get: fn(&mut Layer) -> &mut Vec<f64>) -> Vec<f64> {
    let [inputs, targets] = [
        wide(&inputs::<burn::backend::NdArray>()),
        wide(&targets::<burn::backend::NdArray>()),
    ];
    let count = get(&mut network.layers[layer].clone()).len();
    (0..count)
        .map(|i| {
            derivative(|h| {
                let mut moved = network.clone();
                get(&mut moved.layers[layer])[i] += h;
                loss(&moved, &inputs, &targets)
            })
        })
        .collect()
}

fn gradients_match_finite_differences<B: RescoreBackend>() {
    for activation in [Activation::Mish, Activation::Gelu, Activation::Tanh] {
        let network = network::<B>(activation, "network");
        let (value, gradient, rows) = value_and_grad(&network, |network| {
            let error = network.forward(inputs()) - targets();
            let members = (error.clone() * error).mean_dim(1).mean_dim(2);
            (total(members.clone()), members.inner())
        });
        let [inputs, targets] = [wide(&inputs::<B>()), wide(&targets::<B>())];
        let exact: Vec<_> = (0..MEMBERS)
            .map(|member| Network::of(&network.stack(), member))
            .collect();
        let losses: Vec<_> = exact.iter().map(|m| loss(m, &inputs, &targets)).collect();
        assert_close(&to_vec(value), &[losses.iter().sum()], 1e-6, "loss");
        assert_close(&to_vec(rows), &losses, 1e-6, "what the closure hands back");
        for (i, layer) in gradient.stack().layers.iter().enumerate() {
            for (member, exact) in exact.iter().enumerate() {
                let found = |x: &Tensor<B, 3>| to_vec(x.clone().narrow(0, member, 1));
                let weight = derivatives(exact, i, |layer| &mut layer.weight);
                assert_close(&found(&layer.weight), &weight, 1e-6, "weight");
                let bias = derivatives(exact, i, |layer| &mut layer.bias);
                assert_close(&found(&layer.bias), &bias, 1e-6, "bias");
            }
        }
    }
}

/// Where the loss depends on one leaf alone, the gradient by all others is zeros of their shape.
fn parameters_without_influence_get_zeros<B: RescoreBackend>() {
    let network = network::<B>(Activation::Mish, "network");
    let (value, gradient, ()) = value_and_grad(&network, |network| {
        let bias = network.layers[1].bias.clone().expect("layers have biases");
        (total(bias) + 3.0, ())
    });
    assert_close(&to_vec(value), &[3.0], 0.0, "a sum of zero biases, plus 3");
    for ((name, _, found), (_, _, leaf)) in leaves(&gradient).into_iter().zip(leaves(&network)) {
        let expected = if name == "l1.bias" { 1.0 } else { 0.0 };
        assert_eq!(found.dims(), leaf.dims(), "{name}");
        let found = to_vec(found);
        assert_eq!(found, vec![expected; found.len()], "{name}");
    }
}

/// Statistics and fixed parameters get no gradient though the output depends on them.
fn what_is_not_trained_gets_no_gradient<B: RescoreBackend>() {
    let (keys, device) = (keys("norms", MEMBERS), B::Device::default());
    let network = BatchNormMlp::<B>::init(&DIMS, &keys, &device);
    let (_, gradient, ()) = value_and_grad(&network, |network| {
        let output = network.forward(inputs());
        (total(output.clone() * output), ())
    });
    let mut untrained = 0;
    for (name, role, gradient) in leaves(&gradient) {
        let zero = to_vec(gradient).iter().all(|g| *g == 0.0);
        assert_eq!(zero, !role.is_trained(), "{name}");
        untrained += usize::from(matches!(role, Role::Statistic | Role::Fixed));
    }
    assert_eq!(untrained, 2 * 3 + 1, "two statistics a norm, one shift");
}

/// Through a frozen network a derivative reaches the input, and no weight.
fn a_frozen_network_passes_derivatives_on<B: RescoreBackend>() {
    let network = network::<B>(Activation::Gelu, "network");
    let frozen = freeze::<B, _>(&network);
    let (value, gradient) = input_gradient(inputs::<B>(), |x| frozen.forward(x));
    let x = inputs::<Autodiff<B>>().require_grad();
    let grads = total(frozen.forward(x)).backward();
    for (name, _, tensor) in leaves(&frozen) {
        assert!(
            tensor.grad(&grads).is_none(),
            "frozen {name} has a gradient"
        );
    }
    let values = wide(&inputs::<B>());
    let exact: Vec<_> = (0..MEMBERS)
        .map(|member| Network::of(&network.stack(), member))
        .collect();
    let rows = |member: &Network| -> Vec<f64> {
        let rows = values.chunks(DIMS[0]);
        rows.flat_map(|row| member.forward(row)).collect()
    };
    let outputs: Vec<f64> = exact.iter().flat_map(rows).collect();
    assert_close(&to_vec(value), &outputs, 1e-6, "value");
    let expected: Vec<f64> = (0..values.len())
        .map(|i| {
            derivative(|h| {
                let mut moved = values[i / DIMS[0] * DIMS[0]..][..DIMS[0]].to_vec();
                moved[i % DIMS[0]] += h;
                let sum = |member: &Network| member.forward(&moved).iter().sum::<f64>();
                exact.iter().map(sum).sum()
            })
        })
        .collect();
    assert_close(&to_vec(gradient), &expected, 4e-6, "input gradient");
}

fn polyak_is_the_weighted_mean<B: RescoreBackend>() {
    let [target, online] = ["target", "online"].map(|name| network::<B>(Activation::Mish, name));
    let mut moved = target.clone();
    polyak(&mut moved, &online, 0.005);
    let pairs = || leaves(&target).into_iter().zip(leaves(&online));
    for (((name, _, target), (_, _, online)), (_, _, moved)) in pairs().zip(leaves(&moved)) {
        let pairs = wide(&target).into_iter().zip(wide(&online));
        let expected: Vec<f64> = pairs.map(|(t, o)| 0.995 * t + 0.005 * o).collect();
        assert_close(&to_vec(moved), &expected, 1e-7, &name);
    }
    let mut replaced = target.clone();
    polyak(&mut replaced, &online, 1.0);
    for ((name, _, new), (_, _, online)) in leaves(&replaced).into_iter().zip(leaves(&online)) {
        assert_eq!(to_vec(new), to_vec(online), "{name}: tau = 1 is a copy");
    }
}

on_both_backends!(
    gradients_match_finite_differences,
    parameters_without_influence_get_zeros,
    what_is_not_trained_gets_no_gradient,
    a_frozen_network_passes_derivatives_on,
    polyak_is_the_weighted_mean,
);
