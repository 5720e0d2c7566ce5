//! A network of your own: it implements `Tree`; gradients, Adam, target copies and files follow.

use burn::backend::{Flex, flex::FlexDevice};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use rescore_kernels::{Activation, NoiseKey, RescoreBackend};
use rescore_nn::{Adam, AdamSettings, Initializer, Leaf, Linear, Tree, leaves, value_and_grad};

/// A layer whose output is gated by another.
#[derive(Debug, Clone)]
struct Gated<B: Backend> {
    value: Linear<B>,
    gate: Linear<B>,
}

impl<B: RescoreBackend> Gated<B> {
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let gate = self.gate.forward(x.clone(), Some(Activation::Tanh));
        self.value.forward(x, None) * gate
    }
}

impl<B: Backend> Tree<B> for Gated<B> {
    type On<C: Backend> = Gated<C>;
    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> Gated<C> {
        Gated {
            value: self.value.map(&format!("{path}value."), f),
            gate: self.gate.map(&format!("{path}gate."), f),
        }
    }
}

fn main() {
    let (keys, init) = ([NoiseKey::new(0, "init")], Initializer::LecunNormal);
    let layer = |index| Linear::<Flex>::init([1, 1], true, init, &keys, index, &FlexDevice);
    let [value, gate] = [0, 1].map(layer);
    let mut network = Gated { value, gate };
    let mut adam = Adam::new(&network, AdamSettings::default());
    let x = (-10..=10).map(|i| i as f32 / 10.0);
    let data =
        |y: Vec<f32>| Tensor::<Flex, 3>::from_data(TensorData::new(y, [1, 21, 1]), &FlexDevice);
    let (x, y) = (data(x.clone().collect()), data(x.map(|x| x * x).collect()));
    for step in 1..=2000 {
        let (loss, gradient, ()) = value_and_grad(&network, |network| {
            let output = network.forward(Tensor::from_inner(x.clone()));
            let error = output - Tensor::from_inner(y.clone());
            ((error.clone() * error).mean(), ())
        });
        adam.step(&mut network, &gradient, 1e-2);
        if step % 500 == 0 {
            println!("step {step}: mean squared error {:.1e}", loss.into_scalar());
        }
    }
    // What files, gradients and Adam go by.
    for (name, _, tensor) in leaves(&network) {
        println!("{name} = {:.2}", tensor.into_scalar());
    }
}
