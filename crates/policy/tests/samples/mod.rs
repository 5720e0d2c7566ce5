//! Small policies with random weights, one of each kind.

use std::collections::BTreeMap;

use rescore_noise::NoiseKey;
use rescore_policy::description::{
    Activation, Combine, Critics, FORMAT, NetworkKind, Normalizer, PolicyKind, ValueHead,
};
use rescore_policy::{Description, Tensor};

pub const OBSERVATION: [f32; 3] = [0.2, -0.4, 1.5];

pub type Sample = (Description, BTreeMap<String, Tensor>);

fn add(tensors: &mut BTreeMap<String, Tensor>, name: &str, shape: [usize; 3]) {
    let mut values = vec![0.0; shape.iter().product()];
    NoiseKey::new(1, name).fill_normals(&mut values, shape[2], 0, 0, 0);
    if name.rsplit('.').next() == Some("var") {
        for value in &mut values {
            *value *= *value;
        }
    }
    tensors.insert(name.to_owned(), Tensor { shape, values });
}

fn linear(
    tensors: &mut BTreeMap<String, Tensor>,
    name: &str,
    [members, inputs, outputs]: [usize; 3],
) {
    add(
        tensors,
        &format!("{name}.weight"),
        [members, inputs, outputs],
    );
    add(tensors, &format!("{name}.bias"), [members, 1, outputs]);
}

fn description(policy: PolicyKind) -> Description {
    Description {
        format: FORMAT,
        algorithm: "test".to_owned(),
        task: "Test-v0".to_owned(),
        step: 7,
        seed: 3,
        observation_dim: 3,
        action_dim: 2,
        low: vec![-2.0, 0.0],
        high: vec![2.0, 10.0],
        observation_normalizer: Some(Normalizer {
            mean: vec![0.1, 0.2, 1.0 / 3.0],
            var: vec![1.0, 0.0, 4.0],
            epsilon: 1e-6,
            clip: Some(10.0),
        }),
        policy,
    }
}

/// Four particles of three steps, chosen by two categorical critics with batch normalisation.
pub fn diffusion() -> Sample {
    let mut tensors = BTreeMap::new();
    linear(&mut tensors, "policy.time0", [1, 4, 5]);
    linear(&mut tensors, "policy.time1", [1, 5, 4]);
    linear(&mut tensors, "policy.l0", [1, 3 + 2 + 4, 6]);
    linear(&mut tensors, "policy.l1", [1, 6, 2]);
    let steps = Tensor {
        shape: [1, 3, 5],
        values: [
            [1.1, 0.4, 1.0, 0.0, 1e-10],
            [1.6, 1.2, 0.7, 0.3, 0.3],
            [3.0, 2.8, 0.5, 0.4, 0.6],
        ]
        .concat(),
    };
    tensors.insert("steps".to_owned(), steps);
    for (name, width) in [("bn_in", 5), ("bn0", 6)] {
        for leaf in ["scale", "shift", "mean", "var"] {
            add(
                &mut tensors,
                &format!("critics.{name}.{leaf}"),
                [2, 1, width],
            );
        }
    }
    add(&mut tensors, "critics.l0.weight", [2, 5, 6]);
    linear(&mut tensors, "critics.head", [2, 6, 11]);
    let policy = PolicyKind::Diffusion {
        network: NetworkKind::Mlp {
            layers: 2,
            activation: Activation::Mish,
        },
        particles: 4,
        start_scale: 1.0,
        critics: Some(Critics {
            members: 2,
            network: NetworkKind::BatchNorm { layers: 1 },
            head: ValueHead::Categorical {
                low: -5.0,
                high: 5.0,
            },
            combine: Combine::Mean,
        }),
    };
    (description(policy), tensors)
}

/// A residual network of one block.
pub fn gaussian() -> Sample {
    let mut tensors = BTreeMap::new();
    linear(&mut tensors, "policy.in", [1, 3, 6]);
    add(&mut tensors, "policy.ln0.scale", [1, 1, 6]);
    add(&mut tensors, "policy.ln0.shift", [1, 1, 6]);
    linear(&mut tensors, "policy.up0", [1, 6, 12]);
    linear(&mut tensors, "policy.down0", [1, 12, 6]);
    add(&mut tensors, "policy.ln_out.scale", [1, 1, 6]);
    add(&mut tensors, "policy.ln_out.shift", [1, 1, 6]);
    linear(&mut tensors, "policy.head", [1, 6, 4]);
    let network = NetworkKind::Residual { blocks: 1 };
    (description(PolicyKind::Gaussian { network }), tensors)
}

/// A perceptron of two layers, without normalisation.
pub fn deterministic() -> Sample {
    let mut tensors = BTreeMap::new();
    linear(&mut tensors, "policy.l0", [1, 3, 5]);
    linear(&mut tensors, "policy.l1", [1, 5, 2]);
    let network = NetworkKind::Mlp {
        layers: 2,
        activation: Activation::Relu,
    };
    let mut description = description(PolicyKind::Deterministic { network });
    description.observation_normalizer = None;
    (description, tensors)
}

pub fn all() -> [Sample; 3] {
    [diffusion(), gaussian(), deterministic()]
}
