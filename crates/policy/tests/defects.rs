//! Defects of files and observations: each an error that names what is wrong, never a panic.

mod samples;

use rescore_noise::NoiseKey;
use rescore_policy::description::{NetworkKind, PolicyKind};
use rescore_policy::{Policy, PolicyError, Tensor, write};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use samples::{OBSERVATION, Sample, all, deterministic, diffusion, gaussian};

/// What `write`, and so reading, says of the sample after `change`.
fn complaint(mut sample: Sample, change: impl FnOnce(&mut Sample)) -> String {
    change(&mut sample);
    let error = write(&sample.0, &sample.1).expect_err("the sample is defective");
    error.to_string()
}

/// What reading says of the sample whose description has `new` in the place of `old`.
fn complaint_of_text(sample: &Sample, old: &str, new: &str) -> String {
    let file = write(&sample.0, &sample.1).expect("the sample is sound");
    let json = serde_json::to_string(&sample.0).expect("it was written");
    assert!(json.contains(old), "{json}");
    let tensors = SafeTensors::deserialize(&file).expect("it was written");
    let metadata = [("rescore".to_owned(), json.replacen(old, new, 1))];
    let file = safetensors::serialize(tensors.iter(), Some(metadata.into_iter().collect()));
    let error = Policy::from_bytes(&file.expect("the tensors are sound"));
    error.expect_err("the description is defective").to_string()
}

fn assert_names(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn defects_of_tensors_name_the_tensor_and_what_is_right() {
    let message = complaint(diffusion(), |(_, tensors)| {
        tensors.remove("critics.bn0.var");
    });
    assert_names(&message, &["`critics.bn0.var`", "found none", "[2, 1, 6]"]);
    let message = complaint(deterministic(), |(_, tensors)| {
        let tensor = tensors.get_mut("policy.l1.weight").expect("there");
        tensor.shape = [1, 2, 5];
    });
    assert_names(&message, &["`policy.l1.weight`", "[1, 2, 5]", "[1, 5, 2]"]);
    let message = complaint(deterministic(), |(_, tensors)| {
        tensors.remove("policy.l0.weight");
    });
    assert_names(&message, &["`policy.l0.weight`", "[1, 3, _]"]);
    let message = complaint(gaussian(), |(_, tensors)| {
        tensors.get_mut("policy.up0.bias").expect("there").values[3] = f32::NAN;
    });
    assert_names(&message, &["`policy.up0.bias`", "NaN as value 3", "finite"]);
    let message = complaint(diffusion(), |(_, tensors)| {
        tensors.get_mut("critics.bn_in.var").expect("there").values[1] = -1.0;
    });
    assert_names(
        &message,
        &["`critics.bn_in.var`", "-1 as value 1", "at least 0"],
    );
    let message = complaint(diffusion(), |(_, tensors)| {
        tensors
            .get_mut("policy.l0.bias")
            .expect("there")
            .values
            .pop();
    });
    assert_names(&message, &["`policy.l0.bias`", "5 values", "[1, 1, 6]"]);
    let message = complaint(deterministic(), |(_, tensors)| {
        let tensor = Tensor {
            shape: [1, 1, 1],
            values: vec![0.0],
        };
        tensors.insert("policy.l2.weight".to_owned(), tensor);
    });
    assert_names(
        &message,
        &["`policy.l2.weight`", "the description does not use it"],
    );
    let message = complaint(diffusion(), |(_, tensors)| {
        let tensor = Tensor {
            shape: [1, 3, 5],
            values: vec![0.0; 15],
        };
        tensors.insert("policy.time0.weight".to_owned(), tensor);
    });
    assert_names(&message, &["`policy.time0.weight`", "3 rows", "even"]);
    let message = complaint(diffusion(), |(_, tensors)| {
        let tensor = Tensor {
            shape: [1, 0, 5],
            values: Vec::new(),
        };
        tensors.insert("steps".to_owned(), tensor);
    });
    assert_names(&message, &["`steps`", "[1, 0, 5]", "[1, _, 5]"]);
}

#[test]
fn tensors_of_other_types_and_ranks_are_named() {
    let json = serde_json::to_string(&deterministic().0).expect("it is sound");
    let bytes = [0; 8];
    for (dtype, shape) in [(Dtype::F64, vec![1, 1, 1]), (Dtype::F32, vec![2])] {
        let view = TensorView::new(dtype, shape, &bytes).expect("8 bytes");
        let metadata = [("rescore".to_owned(), json.clone())].into_iter().collect();
        let file = safetensors::serialize([("policy.l0.weight", view)], Some(metadata));
        let error = Policy::from_bytes(&file.expect("sound")).expect_err("defective");
        assert_names(
            &error.to_string(),
            &["`policy.l0.weight`", "F32 of shape [members"],
        );
    }
}

#[test]
fn values_of_the_description_are_checked() {
    let check = |change: &dyn Fn(&mut Sample), parts: &[&str]| {
        assert_names(&complaint(diffusion(), change), parts);
    };
    check(&|(d, _)| d.format = 2, &["`format`", "is 2", "must be 1"]);
    check(
        &|(d, _)| d.observation_dim = 0,
        &["`observation_dim`", "at least 1"],
    );
    check(
        &|(d, _)| d.low = vec![-1.0],
        &["`low`", "a list of 1", "one of 2"],
    );
    check(
        &|(d, _)| d.high[1] = f64::INFINITY,
        &["`high[1]`", "inf", "finite"],
    );
    check(
        &|(d, _)| d.high[1] = 0.0,
        &["`high[1]`", "above low[1] = 0"],
    );
    check(&|(d, _)| d.high[0] = 1e300, &["`high[0]`", "f32"]);
    let normalizer = |change: &dyn Fn(&mut rescore_policy::description::Normalizer),
                      parts: &[&str]| {
        let change =
            |(d, _): &mut Sample| change(d.observation_normalizer.as_mut().expect("there"));
        check(&change, parts);
    };
    normalizer(
        &|n| n.var[2] = -1.0,
        &["`observation_normalizer.var[2]`", "at least 0"],
    );
    normalizer(
        &|n| n.mean[0] = f64::NAN,
        &["`observation_normalizer.mean[0]`", "NaN"],
    );
    normalizer(
        &|n| n.epsilon = 0.0,
        &["`observation_normalizer.epsilon", "above 0"],
    );
    normalizer(
        &|n| n.clip = Some(-1.0),
        &["`observation_normalizer.clip", "above 0"],
    );
    let policy = |change: &dyn Fn(&mut usize, &mut f64), parts: &[&str]| {
        let change = |(d, _): &mut Sample| {
            if let PolicyKind::Diffusion {
                particles,
                start_scale,
                ..
            } = &mut d.policy
            {
                change(particles, start_scale);
            }
        };
        check(&change, parts);
    };
    policy(&|n, _| *n = 0, &["`policy.particles`", "is 0", "from 1"]);
    policy(&|n, _| *n = usize::MAX, &["`policy.particles`", "65536"]);
    policy(
        &|_, scale| *scale = -1.0,
        &["`policy.start_scale`", "at least 0"],
    );
    let without_critics = |(d, _): &mut Sample| {
        if let PolicyKind::Diffusion { critics, .. } = &mut d.policy {
            *critics = None;
        }
    };
    check(&without_critics, &["`policy.critics`", "several particles"]);
    let unsuited = |(d, _): &mut Sample| {
        let network = NetworkKind::BatchNorm { layers: 1 };
        d.policy = PolicyKind::Deterministic { network };
    };
    check(&unsuited, &["`policy.network.kind`", "mlp or residual"]);
    let empty = |(d, _): &mut Sample| {
        let activation = rescore_policy::description::Activation::Relu;
        let network = NetworkKind::Mlp {
            layers: 0,
            activation,
        };
        d.policy = PolicyKind::Gaussian { network };
    };
    check(&empty, &["`policy.network.layers`", "at least 1"]);
}

#[test]
fn keys_of_the_description_are_checked() {
    let sample = diffusion();
    let check = |old: &str, new: &str, parts: &[&str]| {
        assert_names(&complaint_of_text(&sample, old, new), parts);
    };
    // Another format is told before keys that only it has.
    check(
        "\"format\":1",
        "\"format\":2,\"new\":0",
        &["`format`", "is 2", "must be 1"],
    );
    check(
        "\"kind\":\"diffusion\"",
        "\"kind\":\"flow\"",
        &["flow", "`gaussian`"],
    );
    check(
        "\"kind\":\"batch_norm\"",
        "\"kind\":\"lstm\"",
        &["lstm", "`residual`"],
    );
    check("\"mish\"", "\"swish\"", &["swish", "`gelu`"]);
    check("\"seed\":3,", "", &["missing field `seed`"]);
    check("\"seed\"", "\"sed\"", &["unknown field `sed`", "`seed`"]);
    check("\"particles\":4,", "", &["missing field `particles`"]);
    check("\"seed\":3", "\"seed\":-3", &["-3", "u64"]);
    check("\"0.1\"", "\"high\"", &["`high` is no number"]);
    check("\"seed\":3", "\"seed\":null", &["null", "u64"]);
}

#[test]
fn files_of_others_are_recognised() {
    let file = safetensors::serialize(Vec::<(&str, TensorView)>::new(), None);
    let error = Policy::from_bytes(&file.expect("it is empty")).expect_err("no policy");
    assert!(matches!(error, PolicyError::NoDescription), "{error}");
    let error = Policy::from_bytes(b"PK\x03\x04 and so on").expect_err("no policy");
    assert!(matches!(error, PolicyError::Container(_)), "{error}");
    let error = Policy::load("no/such/file").expect_err("there is none");
    assert_names(&error.to_string(), &["no/such/file"]);
}

#[test]
fn observations_are_checked() {
    let (description, tensors) = diffusion();
    let file = write(&description, &tensors).expect("sound");
    let policy = Policy::from_bytes(&file).expect("sound");
    let error = policy.act(&[0.0; 4]).expect_err("too long");
    assert_names(&error.to_string(), &["4 values", "takes 3"]);
    let error = policy.act(&[0.0, f32::NAN, 0.0]).expect_err("not finite");
    assert_names(&error.to_string(), &["value 1", "NaN"]);
    let (mut description, mut tensors) = gaussian();
    description.observation_normalizer = None;
    tensors
        .get_mut("policy.in.weight")
        .expect("there")
        .values
        .fill(3e38);
    let file = write(&description, &tensors).expect("sound");
    let policy = Policy::from_bytes(&file).expect("sound");
    let error = policy.act(&[1e9, 1e9, 1e9]).expect_err("too large");
    assert!(matches!(error, PolicyError::Diverged), "{error}");
}

/// A small file may ask for a large table of time features.
#[test]
fn tables_larger_than_memory_are_refused() {
    let message = complaint(diffusion(), |(_, tensors)| {
        let mut put = |name: &str, shape: [usize; 3]| {
            let values = vec![0.0; shape.iter().product()];
            tensors.insert(name.to_owned(), Tensor { shape, values });
        };
        put("steps", [1, 100_000, 5]);
        put("policy.time1.weight", [1, 5, 100_000]);
        put("policy.time1.bias", [1, 1, 100_000]);
    });
    assert_names(&message, &["`steps`", "100000 rows", "at most 167"]);
}

/// Reads what may be anything and, where it is a policy, acts.
fn survive(bytes: &[u8]) -> bool {
    let Ok(policy) = Policy::from_bytes(bytes) else {
        return false;
    };
    if let Ok(action) = policy.act(&OBSERVATION[..policy.observation_dim().min(3)]) {
        assert_eq!(action.len(), policy.action_dim());
        assert!(action.iter().all(|a| a.is_finite()), "{action:?}");
    }
    true
}

#[test]
fn truncated_files_are_refused() {
    for (description, tensors) in all() {
        let file = write(&description, &tensors).expect("sound");
        assert!(survive(&file));
        for length in 0..file.len() {
            assert!(
                !survive(&file[..length]),
                "{length} of {} bytes",
                file.len()
            );
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    let key = NoiseKey::new(0, "damage");
    for (kind, (description, tensors)) in all().into_iter().enumerate() {
        let file = write(&description, &tensors).expect("sound");
        // Every bit of the header, then several random changes at once, anywhere.
        let header = 8 + u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
        for bit in 0..8 * header {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            survive(&damaged);
        }
        for round in 0..5_000 {
            let mut damaged = file.clone();
            let draw = |row, bound: usize| key.index(row, round, bound as u64) as usize;
            for change in 0..=draw(0, 4) as u32 {
                let place = draw(4 * change + 1, damaged.len());
                let byte = draw(4 * change + 2, 256) as u8;
                match draw(4 * change + 3 + kind as u32, 4) {
                    0 => damaged[place] = byte,
                    1 => damaged[place] ^= 1 << (byte % 8),
                    2 => drop(damaged.remove(place)),
                    _ => damaged.insert(place, byte),
                }
            }
            survive(&damaged);
        }
    }
}
