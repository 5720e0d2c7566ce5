//! A formula as one node of automatic differentiation, whose derivatives are formulas of the same
//! arguments.

use burn::{
    backend::autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{Tensor, TensorPrimitive, backend::Backend, ops::FloatTensor},
};

use super::{Arguments, Binary, Reduce, Term, Unary, reference};
use crate::RescoreBackend;

/// Derivatives of a term by its arguments, collected from the root down.
struct Slopes<'a> {
    /// Numbers of the term, and behind them those of the derivatives.
    numbers: &'a mut Vec<f32>,
    /// By the tensors; none where the term does not depend on one.
    tensors: Vec<Option<Term>>,
    /// By the halves of the wide tensors.
    wide: Vec<[Option<Term>; 2]>,
}

fn unary(operation: Unary, x: &Term) -> Term {
    Term::Unary(operation, Box::new(x.clone()))
}

fn binary(operation: Binary, x: &Term, y: &Term) -> Term {
    Term::Binary(operation, Box::new(x.clone()), Box::new(y.clone()))
}

fn add_to(sum: &mut Option<Term>, term: Term) {
    *sum = Some(match sum.take() {
        Some(sum) => binary(Binary::Add, &sum, &term),
        None => term,
    });
}

impl Slopes<'_> {
    fn number(&mut self, value: f32) -> Term {
        self.numbers.push(value);
        Term::Number(self.numbers.len() - 1)
    }

    /// 1 where `x` is above `limit`, else 0.
    fn above(&mut self, x: &Term, limit: f32) -> Term {
        self.numbers.push(limit);
        Term::Above(Box::new(x.clone()), self.numbers.len() - 1)
    }

    /// `1 - x`
    fn one_less(&mut self, x: &Term) -> Term {
        let one = self.number(1.0);
        binary(Binary::Add, &unary(Unary::Negative, x), &one)
    }

    /// Adds what `term` contributes, where `slope` is the derivative of the root by it. Numbers stay
    /// the right sides of operations.
    fn follow(&mut self, term: &Term, slope: &Term) {
        match term {
            Term::Tensor(place) => add_to(&mut self.tensors[*place], slope.clone()),
            Term::Half(place, right) => {
                add_to(&mut self.wide[*place][usize::from(*right)], slope.clone());
            }
            // Tables are constant here, and steps have no slope.
            Term::Table(_) | Term::Number(_) | Term::Above(..) => {}
            Term::Unary(operation, x) => {
                let slope = self.through(*operation, x, term, slope);
                self.follow(x, &slope);
            }
            Term::Clamp(x, low, high) => {
                let (low, high) = (self.numbers[*low], self.numbers[*high]);
                let above = self.above(x, high);
                let below = self.above(&unary(Unary::Negative, x), -low);
                let within = self.one_less(&binary(Binary::Add, &above, &below));
                self.follow(x, &binary(Binary::Mul, slope, &within));
            }
            Term::Binary(operation, x, y) => {
                let negative = unary(Unary::Negative, slope);
                let [by_x, by_y] = match operation {
                    Binary::Add => [slope.clone(), slope.clone()],
                    Binary::Sub => [slope.clone(), negative],
                    Binary::Mul => [y, x].map(|other| binary(Binary::Mul, slope, other)),
                    Binary::Div => {
                        let quotient =
                            binary(Binary::Div, &binary(Binary::Mul, &negative, term), y);
                        [binary(Binary::Div, slope, y), quotient]
                    }
                };
                self.follow(x, &by_x);
                self.follow(y, &by_y);
            }
        }
    }

    /// The derivative by `x`, where `term` is `operation` of it and has the derivative `slope`.
    fn through(&mut self, operation: Unary, x: &Term, term: &Term, slope: &Term) -> Term {
        let times = |factor: &Term| binary(Binary::Mul, slope, factor);
        match operation {
            Unary::Negative => unary(Unary::Negative, slope),
            Unary::Exp => times(term),
            Unary::Log => binary(Binary::Div, slope, x),
            Unary::Sqrt => {
                let two = self.number(2.0);
                binary(Binary::Div, slope, &binary(Binary::Mul, term, &two))
            }
            Unary::Square => {
                let two = self.number(2.0);
                times(&binary(Binary::Mul, x, &two))
            }
            Unary::Tanh => times(&self.one_less(&unary(Unary::Square, term))),
            Unary::Abs => {
                let positive = self.above(x, 0.0);
                let negative = self.above(&unary(Unary::Negative, x), 0.0);
                times(&binary(Binary::Sub, &positive, &negative))
            }
            Unary::Relu => times(&self.above(x, 0.0)),
            Unary::Log1p => {
                let one = self.number(1.0);
                binary(Binary::Div, slope, &binary(Binary::Add, x, &one))
            }
        }
    }
}

/// The backward node: its parents are the tensors, then the wide ones.
#[derive(Debug)]
struct Derivative;

/// What the backward pass needs of the forward pass.
#[derive(Debug, Clone)]
struct Kept<B: Backend> {
    term: Term,
    arguments: Arguments<B>,
    reduce: Reduce,
}

fn tensor<B: Backend, const D: usize>(x: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

impl<B: RescoreBackend, const N: usize> Backward<B, N> for Derivative {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Kept<B>, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = tensor(grads.consume::<B>(&ops.node));
        let Kept {
            term,
            mut arguments,
            reduce,
        } = ops.state;
        let shape = arguments.shape();
        let [rows, columns] = shape;
        let mut slopes = Slopes {
            tensors: vec![None; arguments.tensors.len()],
            wide: vec![[None, None]; arguments.wide.len()],
            numbers: &mut arguments.numbers,
        };
        let mut root = Term::Tensor(slopes.tensors.len());
        let count = match reduce {
            Reduce::No | Reduce::SumOfLast => 1,
            Reduce::MeanOfLast => columns,
            Reduce::Mean => rows * columns,
        };
        if count > 1 {
            let count = slopes.number(count as f32);
            root = binary(Binary::Div, &root, &count);
        }
        slopes.follow(&term, &root);
        let (by_tensors, by_wide) = (slopes.tensors, slopes.wide);
        let (dims, wide): (Vec<_>, Vec<_>) = (
            arguments.tensors.iter().map(Tensor::dims).collect(),
            arguments.wide.iter().map(Tensor::dims).collect(),
        );
        arguments.tensors.push(grad);
        let device = arguments.tensors[0].device();
        let zeros = |shape: [usize; 2]| Tensor::<B, 2>::zeros(shape, &device);

        let (tensors, wides) = ops.parents.split_at(dims.len());
        for ((parent, slope), dims) in tensors.iter().zip(by_tensors).zip(dims) {
            let Some(node) = parent else { continue };
            let gradient = slope.map_or_else(
                || zeros(dims),
                |slope| summed_to(dims, &slope, arguments.clone()),
            );
            grads.register::<B>(node.id, gradient.into_primitive().tensor());
        }
        for ((parent, slopes), [rows, twice]) in wides.iter().zip(by_wide).zip(wide) {
            let Some(node) = parent else { continue };
            let halves = slopes.map(|slope| {
                slope.map_or_else(
                    || zeros([rows, twice / 2]).into_primitive().tensor(),
                    |slope| B::formula(&slope, arguments.clone(), Reduce::No),
                )
            });
            grads.register::<B>(node.id, B::join(halves.into(), None));
        }
    }
}

/// The derivative by an argument of shape `dims`: the elements of `slope`, added up along the axes
/// along which the argument was repeated.
fn summed_to<B: RescoreBackend>(
    dims: [usize; 2],
    slope: &Term,
    arguments: Arguments<B>,
) -> Tensor<B, 2> {
    let [rows, columns] = arguments.shape();
    let repeated = [dims[0] < rows, dims[1] < columns];
    let reduce = if repeated[1] {
        Reduce::SumOfLast
    } else {
        Reduce::No
    };
    let elements = tensor(B::formula(slope, arguments, reduce));
    if repeated[0] {
        elements.sum_dim(0)
    } else {
        elements
    }
}

/// A differentiable formula. Of a table that is tracked, or of more tensors than a node has parents
/// here, the tensor code is differentiated.
pub(crate) fn differentiable<B: RescoreBackend, C: CheckpointStrategy>(
    term: &Term,
    arguments: Arguments<Autodiff<B, C>>,
    reduce: Reduce,
) -> FloatTensor<Autodiff<B, C>> {
    let tracked =
        |table: &Tensor<Autodiff<B, C>, 1>| table.clone().into_primitive().tensor().is_tracked();
    let tables_are_constant = !arguments.tables.iter().any(|(table, _)| tracked(table));
    match arguments.tensors.len() + arguments.wide.len() {
        1 if tables_are_constant => as_node::<B, C, 1>(term, arguments, reduce),
        2 if tables_are_constant => as_node::<B, C, 2>(term, arguments, reduce),
        3 if tables_are_constant => as_node::<B, C, 3>(term, arguments, reduce),
        4 if tables_are_constant => as_node::<B, C, 4>(term, arguments, reduce),
        _ => reference(term, &arguments, reduce),
    }
}

fn as_node<B: RescoreBackend, C: CheckpointStrategy, const N: usize>(
    term: &Term,
    arguments: Arguments<Autodiff<B, C>>,
    reduce: Reduce,
) -> FloatTensor<Autodiff<B, C>> {
    let both = arguments.tensors.iter().chain(&arguments.wide);
    let nodes: Vec<_> = both
        .map(|x| x.clone().into_primitive().tensor().node)
        .collect();
    let nodes: [_; N] = nodes.try_into().expect("N is their number");
    let inner = |x: Vec<Tensor<Autodiff<B, C>, 2>>| x.into_iter().map(Tensor::inner).collect();
    let arguments = Arguments {
        tensors: inner(arguments.tensors),
        wide: inner(arguments.wide),
        tables: (arguments.tables.into_iter())
            .map(|(table, indices)| (table.inner(), indices.inner()))
            .collect(),
        numbers: arguments.numbers,
    };
    let output = B::formula(term, arguments.clone(), reduce);
    match Derivative.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let term = term.clone();
            let kept = Kept {
                term,
                arguments,
                reduce,
            };
            prep.finish(kept, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
