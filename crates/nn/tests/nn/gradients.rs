//! Gradients of whole networks, and the moving average.

use burn::{
    backend::Autodiff,
    tensor::{Tensor, backend::Backend},
};
use rescore_kernels::{
    Activation, Initializer, Mlp, NoiseKey, RescoreBackend, freeze, polyak, value_and_grad,
};

use crate::{
    assert_close, normals, on_both_backends,
    reference::{Layer, Network, wide},
    tensor, to_vec,
};

const ROWS: usize = 9;
const DIMS: [usize; 4] = [3, 7, 5, 2];

fn network<B: Backend>(activation: Activation, name: &str) -> Mlp<B> {
    let key = NoiseKey::new(1, name);
    let device = B::Device::default();
    Mlp::init(&DIMS, activation, Initializer::LecunNormal, key, &device)
}

fn inputs<B: Backend>() -> Tensor<B, 2> {
    tensor(normals("inputs", ROWS * DIMS[0], 1.0), [ROWS, DIMS[0]])
}

fn targets<B: Backend>() -> Tensor<B, 2> {
    tensor(normals("targets", ROWS * DIMS[3], 1.0), [ROWS, DIMS[3]])
}

/// Mean squared error in f64.
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

/// The derivative of `f` at 0 by a central difference: with h = 1e-5 off by about 1e-10.
fn derivative(f: impl Fn(f64) -> f64) -> f64 {
    (f(1e-5) - f(-1e-5)) / 2e-5
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
    for activation in [Activation::Mish, Activation::Gelu] {
        let network = network::<B>(activation, "network");
        let (value, gradient, rows) = value_and_grad(&network, |network| {
            let error = network.forward(inputs()) - targets();
            ((error.clone() * error).mean(), ROWS)
        });
        assert_eq!(rows, ROWS, "what the closure hands back comes through");
        let exact = Network::of(&network);
        let expected = loss(&exact, &wide(&inputs::<B>()), &wide(&targets::<B>()));
        assert_close(&to_vec(value), &[expected], 1e-6, "loss");
        for (i, layer) in gradient.layers.iter().enumerate() {
            let weight = derivatives(&exact, i, |layer| &mut layer.weight);
            assert_close(&to_vec(layer.weight.clone()), &weight, 1e-6, "weight");
            let bias = derivatives(&exact, i, |layer| &mut layer.bias);
            assert_close(&to_vec(layer.bias.clone()), &bias, 1e-6, "bias");
        }
    }
}

fn parameters_without_influence_get_zeros<B: RescoreBackend>() {
    let network = network::<B>(Activation::Mish, "network");
    let (value, gradient, ()) = value_and_grad(&network, |network| {
        (network.layers[1].bias.clone().sum() + 3.0, ())
    });
    assert_close(&to_vec(value), &[3.0], 0.0, "a sum of zero biases, plus 3");
    for (i, layer) in gradient.layers.iter().enumerate() {
        let [inputs, outputs] = layer.weight.dims();
        let expected = vec![if i == 1 { 1.0 } else { 0.0 }; outputs];
        assert_eq!(to_vec(layer.bias.clone()), expected);
        assert_eq!(to_vec(layer.weight.clone()), vec![0.0; inputs * outputs]);
        assert_eq!(layer.weight.dims(), network.layers[i].weight.dims());
    }
}

/// Through a frozen network a derivative reaches the input.
fn a_frozen_network_passes_derivatives_on<B: RescoreBackend>() {
    let network = network::<B>(Activation::Gelu, "network");
    let x = inputs::<Autodiff<B>>().require_grad();
    let frozen = freeze::<B, _>(&network);
    let mut grads = frozen.forward(x.clone()).sum().backward();
    assert!(
        frozen
            .layers
            .iter()
            .all(|layer| layer.weight.grad(&grads).is_none()),
        "a frozen weight has a gradient"
    );
    let gradient = to_vec(x.grad_remove(&mut grads).expect("the sum depends on x"));
    let (exact, values) = (Network::of(&network), wide(&inputs::<B>()));
    let expected: Vec<f64> = (0..values.len())
        .map(|i| {
            derivative(|h| {
                let mut moved = values[i / DIMS[0] * DIMS[0]..][..DIMS[0]].to_vec();
                moved[i % DIMS[0]] += h;
                exact.forward(&moved).iter().sum()
            })
        })
        .collect();
    assert_close(&gradient, &expected, 2e-6, "input gradient");
}

fn polyak_is_the_weighted_mean<B: RescoreBackend>() {
    let [target, online] = ["target", "online"].map(|name| network::<B>(Activation::Mish, name));
    let mut moved = target.clone();
    polyak(&mut moved, &online, 0.005);
    for (i, layer) in moved.layers.iter().enumerate() {
        let expected: Vec<f64> = wide(&target.layers[i].weight)
            .into_iter()
            .zip(wide(&online.layers[i].weight))
            .map(|(target, online)| 0.995 * target + 0.005 * online)
            .collect();
        assert_close(&to_vec(layer.weight.clone()), &expected, 1e-7, "weight");
    }
    let mut replaced = target.clone();
    polyak(&mut replaced, &online, 1.0);
    for (new, online) in replaced.layers.iter().zip(&online.layers) {
        let [new, online] = [new, online].map(|layer| to_vec(layer.weight.clone()));
        assert_eq!(new, online, "tau = 1 is a copy");
    }
}

on_both_backends!(
    gradients_match_finite_differences,
    parameters_without_influence_get_zeros,
    a_frozen_network_passes_derivatives_on,
    polyak_is_the_weighted_mean,
);
