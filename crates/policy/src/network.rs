//! Networks on one input at a time, in plain loops.

#[cfg(test)]
mod tests;

use std::mem;

use crate::PolicyError;
use crate::description::{Activation, NetworkKind};
use crate::file::{Tensor, Tensors};

/// Added to the variance by layer norms.
const LAYER_NORM_EPSILON: f32 = 1e-6;
/// Added to the running variance by batch norms.
const BATCH_NORM_EPSILON: f32 = 1e-3;

/// A network of any kind, with one set of weights a member.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    operations: Vec<Operation>,
    outputs: usize,
}

#[derive(Debug, Clone)]
enum Operation {
    /// `x W`
    Product(Tensor),
    /// `x + shift`
    Shift(Tensor),
    /// `x * scale`
    Scale(Tensor),
    /// `(x - mean(x)) / sqrt(var(x) + epsilon)` over the values of `x`.
    Standardize,
    Activate(Activation),
    /// `x` plus the result of the operations for `x`.
    Residual(Vec<Operation>),
}

/// What a network computes with, reused from one input to the next: the input goes into `x`, where
/// the output stands afterwards.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub x: Vec<f32>,
    y: Vec<f32>,
}

impl Buffers {
    /// Puts `parts`, one after the other, into `x`.
    pub fn input<const N: usize>(&mut self, parts: [&[f32]; N]) {
        self.x.clear();
        for part in parts {
            self.x.extend_from_slice(part);
        }
    }
}

impl Network {
    /// Width of the input.
    pub fn inputs(&self) -> usize {
        match self.operations.first() {
            Some(Operation::Product(weight)) => weight.shape[1],
            _ => 0,
        }
    }

    /// Width of the output.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Replaces `buffers.x` by the output of `member`.
    pub fn apply(&self, member: usize, buffers: &mut Buffers) {
        apply(&self.operations, member, buffers);
    }
}

fn apply(operations: &[Operation], member: usize, buffers: &mut Buffers) {
    for operation in operations {
        let Buffers { x, y } = buffers;
        match operation {
            Operation::Product(weight) => {
                product(x, weight.member(member), weight.shape[2], y);
                mem::swap(x, y);
            }
            Operation::Shift(shift) => {
                let shift = shift.member(member);
                x.iter_mut().zip(shift).for_each(|(x, shift)| *x += shift);
            }
            Operation::Scale(scale) => {
                let scale = scale.member(member);
                x.iter_mut().zip(scale).for_each(|(x, scale)| *x *= scale);
            }
            Operation::Standardize => standardize(x),
            Operation::Activate(activation) => activation.apply(x),
            Operation::Residual(inner) => {
                let kept = x.clone();
                apply(inner, member, buffers);
                let sum = buffers.x.iter_mut().zip(&kept);
                sum.for_each(|(x, kept)| *x += kept);
            }
        }
    }
}

fn product(x: &[f32], weight: &[f32], columns: usize, y: &mut Vec<f32>) {
    y.clear();
    y.resize(columns, 0.0);
    for (x, row) in x.iter().zip(weight.chunks_exact(columns)) {
        for (y, weight) in y.iter_mut().zip(row) {
            *y += x * weight;
        }
    }
}

fn standardize(x: &mut [f32]) {
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    let squares = x.iter().map(|x| (x - mean) * (x - mean));
    let variance = squares.sum::<f32>() / x.len() as f32;
    let deviation = (variance + LAYER_NORM_EPSILON).sqrt();
    for x in x {
        *x = (*x - mean) / deviation;
    }
}

/// Builds networks from the tensors whose names begin with `prefix`.
pub(crate) struct Builder<'a> {
    pub tensors: &'a mut Tensors,
    pub prefix: &'a str,
    pub members: usize,
    /// Width of what the operations so far give; None where the next tensor tells.
    width: Option<usize>,
    operations: Vec<Operation>,
}

impl<'a> Builder<'a> {
    /// A network of `members` members that takes `inputs` values, or as many as its first layer.
    pub fn new(
        tensors: &'a mut Tensors,
        prefix: &'a str,
        members: usize,
        inputs: Option<usize>,
    ) -> Self {
        Self {
            tensors,
            prefix,
            members,
            width: inputs,
            operations: Vec::new(),
        }
    }

    /// Takes the leaf `name` with as many columns as the present width.
    fn row(&mut self, name: &str) -> Result<Tensor, PolicyError> {
        let name = format!("{}.{name}", self.prefix);
        self.tensors
            .take(&name, [Some(self.members), Some(1), self.width])
    }

    /// `x W`, to `outputs` values or as many as `W` has.
    fn product(&mut self, name: &str, outputs: Option<usize>) -> Result<&mut Self, PolicyError> {
        let name = format!("{}.{name}.weight", self.prefix);
        let shape = [Some(self.members), self.width, outputs];
        let weight = self.tensors.take(&name, shape)?;
        self.width = Some(weight.shape[2]);
        self.operations.push(Operation::Product(weight));
        Ok(self)
    }

    /// `x W + b`, to `outputs` values or as many as `W` has.
    pub fn linear(&mut self, name: &str, outputs: Option<usize>) -> Result<&mut Self, PolicyError> {
        let bias = self.product(name, outputs)?.row(&format!("{name}.bias"))?;
        self.operations.push(Operation::Shift(bias));
        Ok(self)
    }

    pub fn activate(&mut self, activation: Activation) -> &mut Self {
        self.operations.push(Operation::Activate(activation));
        self
    }

    fn scale_and_shift(&mut self, name: &str) -> Result<&mut Self, PolicyError> {
        let scale = self.row(&format!("{name}.scale"))?;
        let shift = self.row(&format!("{name}.shift"))?;
        self.operations.push(Operation::Scale(scale));
        self.operations.push(Operation::Shift(shift));
        Ok(self)
    }

    fn layer_norm(&mut self, name: &str) -> Result<&mut Self, PolicyError> {
        self.operations.push(Operation::Standardize);
        self.scale_and_shift(name)
    }

    fn batch_norm(&mut self, name: &str) -> Result<&mut Self, PolicyError> {
        let mut mean = self.row(&format!("{name}.mean"))?;
        for mean in &mut mean.values {
            *mean = -*mean;
        }
        let mut var = self.row(&format!("{name}.var"))?;
        let full_name = format!("{}.{name}.var", self.prefix);
        var.require(&full_name, "at least 0", |var| var >= 0.0)?;
        for var in &mut var.values {
            *var = 1.0 / (*var + BATCH_NORM_EPSILON).sqrt();
        }
        self.operations.push(Operation::Shift(mean));
        self.operations.push(Operation::Scale(var));
        self.scale_and_shift(name)
    }

    /// A network as a description has it, to `outputs` values or as many as its last layer has.
    pub fn network(
        mut self,
        kind: NetworkKind,
        outputs: Option<usize>,
    ) -> Result<Network, PolicyError> {
        match kind {
            NetworkKind::Mlp { layers, activation } => {
                for i in 0..layers - 1 {
                    self.linear(&format!("l{i}"), None)?.activate(activation);
                }
                self.linear(&format!("l{}", layers - 1), outputs)?;
            }
            NetworkKind::Residual { blocks } => {
                self.linear("in", None)?;
                for j in 0..blocks {
                    let before = mem::take(&mut self.operations);
                    let width = self.width;
                    self.layer_norm(&format!("ln{j}"))?
                        .linear(&format!("up{j}"), None)?
                        .activate(Activation::Relu)
                        .linear(&format!("down{j}"), width)?;
                    let block = mem::replace(&mut self.operations, before);
                    self.operations.push(Operation::Residual(block));
                }
                self.layer_norm("ln_out")?.linear("head", outputs)?;
            }
            NetworkKind::BatchNorm { layers } => {
                self.batch_norm("bn_in")?;
                for i in 0..layers {
                    self.product(&format!("l{i}"), None)?
                        .batch_norm(&format!("bn{i}"))?
                        .activate(Activation::Relu);
                }
                self.linear("head", outputs)?;
            }
        }
        Ok(self.finish())
    }

    /// The network of the operations so far.
    pub fn finish(self) -> Network {
        Network {
            operations: self.operations,
            outputs: self.width.unwrap_or(0),
        }
    }
}
