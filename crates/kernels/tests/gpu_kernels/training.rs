//! Training: what every element goes through, stacks of layers, formulas, rows and products.

use burn::backend::Flex;
use burn::tensor::{Int, Tensor, TensorData, TensorPrimitive, backend::Backend};
use rescore_kernels::{
    Activation, Combine, RescoreBackend,
    adam::{AdamStep, Optimized},
    categorical::{Atoms, Returns, target_distribution},
    dense::Wanted,
    formula::Formula,
    join::{join, join_chosen},
    stack::{Stack, StackWanted},
    total,
    weights::{softmax_temperature, softmax_weights},
};

use super::{assert_close, layer, tensor, values};

/// Everything that a training step does to every element.
pub fn elementwise_operations_agree_with_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>() -> Vec<Vec<f32>> {
        let raw = |name: &str, shape: [usize; 3], scale| {
            tensor::<B, 3>(name, shape, scale).into_primitive().tensor()
        };
        let back = |x| values(Tensor::<B, 3>::from_primitive(TensorPrimitive::Float(x)));
        let shape = [2, 131, 37];
        let x = || raw("x", shape, 8.0);
        let bias = || raw("bias", [2, 1, 12], 1.0);
        let weight = || raw("weight", [2, 37, 12], 0.2);
        // Arrays of different lengths, more of them than one launch takes.
        let shapes: Vec<_> = (0..23).map(|i| [1, 1 + 40 * i, 7]).collect();
        let arrays = |name: &str, scale| {
            let array =
                |(i, shape): (usize, &[usize; 3])| raw(&format!("{name}{i}"), *shape, scale);
            shapes.iter().enumerate().map(array).collect::<Vec<_>>()
        };
        let moments = arrays("mu", 0.1).into_iter().zip(arrays("nu", 0.0));
        let parameters = arrays("parameter", 1.0).into_iter().zip(moments);
        let parameters = parameters.map(|(parameter, (mu, nu))| Optimized { parameter, mu, nu });
        let stepped = B::adam_step(
            parameters.collect(),
            arrays("gradient", 0.1),
            AdamStep::new(1e-3, [0.9, 0.999], 1e-8, 3),
        );
        let stepped = stepped
            .into_iter()
            .flat_map(|array| [array.parameter, array.mu, array.nu]);
        let moved = B::lerp(arrays("target", 1.0), arrays("online", 1.0), 0.3);
        // A value that is still needed must not be written to.
        let shared = x();
        let mut one_by_one = vec![back(B::dense(x(), weight(), bias(), None))];
        // All members have the same input.
        let shared_input = raw("x", [1, 131, 37], 8.0);
        one_by_one.push(back(B::dense(shared_input, weight(), bias(), None)));
        for activation in [
            Activation::Mish,
            Activation::Gelu,
            Activation::Relu,
            Activation::Tanh,
        ] {
            let output = B::activate(shared.clone(), activation);
            let grad = raw("grad", shape, 1.0);
            let both = B::dense_activated(x(), weight(), bias(), activation);
            one_by_one.extend([
                back(output),
                back(B::activate_backward(x(), grad, activation)),
                back(B::dense(x(), weight(), bias(), Some(activation))),
            ]);
            one_by_one.extend(both.map(back));
        }
        one_by_one.push(back(shared));
        let many = stepped.chain(moved).map(back);
        one_by_one.into_iter().chain(many).collect()
    }
    for (i, (device, processor)) in all::<B>().iter().zip(&all::<Flex>()).enumerate() {
        assert_close(device, processor, 5e-6, &format!("operation {i}"));
    }
}

/// Runs are the same to the bit only if every sum is.
pub fn a_total_is_the_same_every_time<B: RescoreBackend>() {
    let x = tensor::<B, 3>("x", [2, 64, 101], 1.0);
    let first = values(total(x.clone()));
    assert_close(
        &first,
        &values(total(tensor::<Flex, 3>("x", [2, 64, 101], 1.0))),
        1e-4,
        "total",
    );
    for _ in 0..2000 {
        assert_eq!(values(total(x.clone())), first);
    }
}

/// A stack with its input and what a loss says of its outputs.
#[derive(Debug, Clone)]
struct Trained {
    members: usize,
    shared: bool,
    rows: usize,
    dims: Vec<usize>,
    activation: Activation,
}

impl Trained {
    fn stack<B: Backend>(&self) -> Stack<B> {
        let layers = self.dims.windows(2).enumerate();
        Stack {
            layers: layers
                .map(|(i, pair)| layer(&format!("layer {i}"), [self.members, pair[0], pair[1]]))
                .collect(),
            activation: self.activation,
        }
    }

    /// Outputs without and with a record, and all derivatives.
    fn pass<B: RescoreBackend>(&self) -> Vec<Vec<f32>> {
        let stack = self.stack::<B>();
        let members = if self.shared { 1 } else { self.members };
        let (inputs, outputs) = (self.dims[0], self.dims[self.dims.len() - 1]);
        let x = tensor::<B, 3>("x", [members, self.rows, inputs], 1.0);
        let grad = tensor::<B, 3>("grad", [self.members, self.rows, outputs], 1.0);
        let wanted = StackWanted {
            x: true,
            layers: vec![[true; 2]; stack.layers.len()],
        };
        let pass = B::stack_kept(x.clone(), &stack);
        let found = B::stack_backward(&x, &stack, &pass.kept, grad, &wanted);
        let float = |x| Tensor::<B, 3>::from_primitive(TensorPrimitive::Float(x));
        let gradients = found.layers.into_iter().flatten().chain([found.x]);
        let gradients = gradients.map(|x| values(float(x.expect("all are wanted"))));
        [values(B::stack(x, &stack)), values(pass.output)]
            .into_iter()
            .chain(gradients)
            .collect()
    }
}

/// Forward and backward through stacks of all forms, and tiles of all sizes.
pub fn stacks_are_trained_as_on_the_processor<B: RescoreBackend>() {
    let trained = |members, shared, rows, dims: &[usize], activation| Trained {
        members,
        shared,
        rows,
        dims: dims.to_vec(),
        activation,
    };
    for trained in [
        trained(2, true, 256, &[23, 256, 256, 1], Activation::Mish),
        trained(1, true, 256, &[39, 256, 256, 6], Activation::Mish),
        trained(1, true, 20, &[16, 32, 16], Activation::Mish),
        trained(2, false, 37, &[5, 40, 33, 101], Activation::Relu),
        trained(3, true, 9, &[4, 7, 300, 2], Activation::Gelu),
        trained(1, false, 4097, &[11, 64, 32, 4], Activation::Tanh),
        trained(2, true, 1, &[3, 8, 1], Activation::Mish),
    ] {
        let (device, processor) = (trained.pass::<B>(), trained.pass::<Flex>());
        for (i, (device, processor)) in device.iter().zip(&processor).enumerate() {
            let scale = processor.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
            assert_close(
                device,
                processor,
                2e-6 * scale.max(10.0),
                &format!("{trained:?}: {i}"),
            );
        }
    }
}

/// A formula with every operation, of tensors that are repeated along either axis, and its means.
pub fn formulas_are_those_of_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>([rows, columns]: [usize; 2]) -> Vec<Vec<f32>> {
        let device = B::Device::default();
        let x = || Formula::from(tensor::<B, 2>("x", [rows, columns], 1.0));
        let column = Formula::column(tensor::<B, 1>("column", [rows], 1.0));
        let row = Formula::row(tensor::<B, 1>("row", [columns], 1.0));
        let indices: Vec<i32> = (0..rows).map(|row| (row * 7 % 5) as i32).collect();
        let indices = Tensor::from_data(TensorData::new(indices, [rows]), &device);
        let entries = Formula::entries(tensor::<B, 1>("table", [5], 1.0), indices);
        let one = Formula::row(tensor::<B, 1>("one", [1], 1.0));
        let [left, right] = Formula::halves(tensor::<B, 2>("wide", [rows, 2 * columns], 1.0));
        let formula = -(x() * column.clone() - row / (x().square() + 0.5)).clamp(-0.7, 0.9)
            + (x() * 0.1).exp() * entries
            + x().above(0.5) * 0.1
            - ((x().square() + 1.0).log().sqrt() + one) / 3.0
            - 0.25;
        vec![
            values(formula.clone().compute()),
            values(formula.clone().mean_of_rows()),
            values(formula.mean()),
            values((column.exp() * 2.0).compute_column()),
            values((x().tanh() - (x() * 30.0).softplus()).sum_of_rows()),
            values((left * x() - right.exp()).compute()),
        ]
    }
    let all_of = all::<Flex>([70_000, 2]);
    let mean = all_of[0].iter().map(|x| f64::from(*x)).sum::<f64>() / 140_000.0;
    assert_close(&all_of[2], &[mean as f32], 1e-3, "mean");
    for shape in [[256, 6], [1, 1], [3, 1000], [70_000, 2]] {
        for (i, (device, processor)) in all::<B>(shape).iter().zip(&all::<Flex>(shape)).enumerate()
        {
            assert_close(device, processor, 2e-5, &format!("{shape:?}: {i}"));
        }
    }
    let nan = Tensor::<B, 2>::from_data([[f32::NAN, 2.0]], &B::Device::default());
    let clamped = values(Formula::from(nan).clamp(-1.0, 1.0).compute());
    assert!(clamped[0].is_nan(), "{clamped:?}");
    assert_close(&clamped[1..], &[1.0], 0.0, "a bound");
}

/// Columns beside each other, and the derivative by a table that some were chosen from.
pub fn joined_columns_are_those_of_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>() -> Vec<Vec<f32>> {
        let device = B::Device::default();
        let parts = || {
            [
                tensor::<B, 2>("left", [300, 17], 1.0),
                tensor::<B, 2>("right", [300, 6], 1.0),
            ]
        };
        let indices: Vec<i32> = (0..300).map(|row| row * row % 20).collect();
        let indices = Tensor::<B, 1, Int>::from_data(TensorData::new(indices, [300]), &device);
        let table = tensor::<B, 2>("table", [20, 16], 1.0);
        let grad = tensor::<B, 2>("grad", [300, 39], 1.0);
        let raw = |x: Tensor<B, 2>| x.into_primitive().tensor();
        let back = B::join_backward(
            raw(grad),
            23,
            raw(table.clone()),
            indices.clone().into_primitive(),
        );
        let [left, right] = parts();
        vec![
            values(join(left, right)),
            values(join_chosen(parts(), table, indices)),
            values(Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(back))),
        ]
    }
    for (i, (device, processor)) in all::<B>().iter().zip(&all::<Flex>()).enumerate() {
        assert_close(device, processor, 2e-6, &format!("operation {i}"));
    }
}

/// Softmax weights, and the temperature at which they have a divergence: of rows that are more than
/// threads, and of scores that reach no divergence or are no numbers.
pub fn weights_are_those_of_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>([states, particles]: [usize; 2], scale: f32) -> Vec<Vec<f32>> {
        let scores = || tensor::<B, 2>("scores", [states, particles], scale);
        let target = 0.48 * (particles as f64).ln();
        let logarithm = softmax_temperature(scores(), target);
        let (probabilities, kl, effective) = softmax_weights(scores(), logarithm.clone().exp());
        vec![
            values(probabilities),
            values(kl),
            values(effective),
            values(logarithm),
        ]
    }
    for (shape, scale) in [
        ([128, 8], 1.0),
        ([1, 2], 1.0),
        ([700, 40], 1e-3),
        ([3, 100], 5.0),
    ] {
        let (device, processor) = (all::<B>(shape, scale), all::<Flex>(shape, scale));
        for (i, (device, processor)) in device.iter().zip(&processor).enumerate() {
            assert_close(device, processor, 1e-4, &format!("{shape:?}: {i}"));
        }
    }
    for (scores, end) in [
        ([1.0, 1.0], 1e-6_f32),
        ([0.0, 1e6], 1e2),
        ([f32::NAN, 0.0], 1e2),
    ] {
        let of = |scores: Tensor<B, 2>| values(softmax_temperature(scores, 0.3))[0];
        let found = of(Tensor::from_data([scores], &B::Device::default()));
        assert!((found - end.ln()).abs() < 1e-3, "{scores:?}: {found}");
    }
}

/// Norms of rows and distributions over atoms, and their derivatives.
pub fn rows_are_those_of_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>([members, rows, width]: [usize; 3]) -> Vec<Vec<f32>> {
        let raw = |name: &str, shape: [usize; 3]| {
            tensor::<B, 3>(name, shape, 1.5).into_primitive().tensor()
        };
        let float = |x| values(Tensor::<B, 3>::from_primitive(TensorPrimitive::Float(x)));
        let whole = [members, rows, width];
        let (x, grad) = (raw("x", whole), raw("grad", whole));
        let [scale, shift] = ["scale", "shift"].map(|name| raw(name, [members, 1, width]));
        let by_row = raw("by row", [members, rows, 1]);
        let targets = tensor::<B, 2>("targets", [rows, width], 1.0).abs();
        let targets = targets.into_primitive().tensor();
        let atoms = Atoms {
            low: -5.0,
            spacing: 0.1,
        };
        let norm = B::norm_rows_backward(x.clone(), scale.clone(), grad, 1e-5);
        let returns = |penalty| Returns {
            rewards: tensor::<B, 1>("rewards", [rows], 0.5),
            discounts: tensor::<B, 1>("discounts", [rows], 1.0).abs(),
            penalty,
        };
        let target = |combine, penalty| {
            let logits = tensor::<B, 3>("x", whole, 1.5);
            values(target_distribution(
                logits,
                atoms,
                combine,
                returns(penalty),
            ))
        };
        vec![
            target(Combine::Min, None),
            target(Combine::Mean, Some(tensor("penalty", [rows], 0.3))),
            float(B::norm_rows(x.clone(), scale, shift, 1e-5)),
            float(norm.x),
            float(norm.scale),
            float(norm.shift),
            float(B::expectation(x.clone(), atoms)),
            float(B::expectation_backward(x.clone(), by_row.clone(), atoms)),
            float(B::cross_entropy(x.clone(), targets.clone())),
            float(B::cross_entropy_backward(x, targets, by_row)),
        ]
    }
    for shape in [
        [2, 256, 101],
        [1, 5, 128],
        [3, 33, 17],
        [1, 1, 2],
        [2, 70, 512],
    ] {
        for (i, (device, processor)) in all::<B>(shape).iter().zip(&all::<Flex>(shape)).enumerate()
        {
            let scale = processor.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
            // A place among many atoms has fewer digits behind the point.
            let scale = scale.max(5.0) * (shape[2] as f32 / 50.0).max(1.0);
            assert_close(device, processor, 3e-6 * scale, &format!("{shape:?}: {i}"));
        }
    }
}

/// Products of all forms: of a batch, of one matrix with a batch, of transposed ones.
pub fn products_are_those_of_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>() -> Vec<Vec<f32>> {
        let product = |a: Tensor<B, 3>, b: Tensor<B, 3>| {
            let [a, b] = [a, b].map(|x| x.into_primitive().tensor());
            values(Tensor::<B, 3>::from_primitive(TensorPrimitive::Float(
                B::matmul(a, b),
            )))
        };
        let mut found = Vec::new();
        for [batch, rows, inner, columns] in [
            [2, 256, 256, 256],
            [1, 20, 16, 32],
            [3, 33, 65, 17],
            [1, 1, 1, 1],
            [2, 700, 40, 130],
            [1, 2048, 64, 2048],
        ] {
            let a = tensor::<B, 3>("a", [batch, rows, inner], 1.0);
            let b = tensor::<B, 3>("b", [batch, inner, columns], 1.0);
            let (a_turned, b_turned) = (
                tensor::<B, 3>("a", [batch, inner, rows], 1.0).swap_dims(1, 2),
                tensor::<B, 3>("b", [batch, columns, inner], 1.0).swap_dims(1, 2),
            );
            found.push(product(a.clone(), b.clone()));
            found.push(product(a_turned.clone(), b_turned.clone()));
            found.push(product(a_turned, b.clone()));
            found.push(product(a.clone(), b_turned));
            found.push(product(a.clone().slice([0..1]), b.clone()));
            // The derivatives of a layer with this weight.
            let grad = tensor::<B, 3>("grad", [batch, rows, columns], 1.0);
            let raw = |x: Tensor<B, 3>| x.into_primitive().tensor();
            let wanted = Wanted {
                x: true,
                weight: true,
                bias: true,
            };
            for x in [a.clone(), a.slice([0..1])] {
                let derived = B::dense_backward(raw(x), raw(b.clone()), raw(grad.clone()), wanted);
                for part in [derived.x, derived.weight, derived.bias] {
                    let part = part.expect("all are wanted");
                    found.push(values(Tensor::<B, 3>::from_primitive(
                        TensorPrimitive::Float(part),
                    )));
                }
            }
        }
        found
    }
    for (i, (device, processor)) in all::<B>().iter().zip(&all::<Flex>()).enumerate() {
        let scale = processor.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
        assert_close(
            device,
            processor,
            2e-6 * scale.max(10.0),
            &format!("product {i}"),
        );
    }
}
