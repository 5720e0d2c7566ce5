//! Expressions of tensors that are computed element by element, in one pass over memory.
//!
//! What an algorithm says of a batch in between its networks, such as a TD target or the weights of a
//! policy loss, is a handful of operations on a few hundred numbers. On a GPU each of them is a launch
//! that takes longer than its arithmetic. A [`Formula`] is written like tensor code and computed as one
//! operation; its default body is the tensor code. Its derivatives are formulas too.

mod derivative;

use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::{
    Int, Tensor, TensorPrimitive, activation::relu, backend::Backend, ops::FloatTensor,
};

pub(crate) use derivative::differentiable;

use crate::RescoreBackend;

/// An operation on one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `-x`
    Negative,
    /// `e^x`
    Exp,
    /// The natural logarithm.
    Log,
    /// The square root.
    Sqrt,
    /// `x x`
    Square,
    /// The hyperbolic tangent.
    Tanh,
    /// The absolute value.
    Abs,
    /// `max(x, 0)`
    Relu,
    /// `log(1 + x)`
    Log1p,
}

/// An operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
}

/// What a formula computes from its arguments, which it names by their places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Term {
    /// An element of a tensor.
    Tensor(usize),
    /// An element of a half of a wide tensor: of the right one, or the left one.
    Half(usize, bool),
    /// A row of a table, chosen by an index of the row.
    Table(usize),
    /// A number.
    Number(usize),
    /// An operation on a term.
    Unary(Unary, Box<Self>),
    /// An operation on two terms.
    Binary(Binary, Box<Self>, Box<Self>),
    /// A term within the two numbers at these places.
    Clamp(Box<Self>, usize, usize),
    /// 1 where a term is above the number at this place, else 0.
    Above(Box<Self>, usize),
}

/// Which elements are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// None.
    No,
    /// Those along the last axis.
    SumOfLast,
    /// Those along the last axis, divided by their number.
    MeanOfLast,
    /// All, divided by their number; the result has one element.
    Mean,
}

/// The arguments of a formula.
#[derive(Debug, Clone)]
pub struct Arguments<B: Backend> {
    /// Tensors, of the result's shape or 1 long along some axes.
    pub tensors: Vec<Tensor<B, 2>>,
    /// Tensors twice as wide as the result.
    pub wide: Vec<Tensor<B, 2>>,
    /// Tables `[entries]` with an index for each row, `[rows]`.
    pub tables: Vec<(Tensor<B, 1>, Tensor<B, 1, Int>)>,
    /// Numbers.
    pub numbers: Vec<f32>,
}

/// An expression of matrices and numbers.
#[derive(Debug, Clone)]
pub struct Formula<B: Backend> {
    term: Term,
    arguments: Arguments<B>,
    /// What tells the tensors and the wide tensors apart: copies of a formula share theirs, so that an
    /// argument that is used twice is passed once.
    ids: [Vec<u64>; 2],
}

/// A number that no other argument of this process has.
fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Adds `other` to `own`, but for what is there already; the places of all of `other` afterwards.
fn merge<T>(own: (&mut Vec<T>, &mut Vec<u64>), other: (Vec<T>, Vec<u64>)) -> Vec<usize> {
    let (values, ids) = own;
    let others = other.0.into_iter().zip(other.1);
    let place = |(value, id)| {
        ids.iter().position(|own| *own == id).unwrap_or_else(|| {
            values.push(value);
            ids.push(id);
            ids.len() - 1
        })
    };
    others.map(place).collect()
}

impl<B: Backend> From<Tensor<B, 2>> for Formula<B> {
    fn from(tensor: Tensor<B, 2>) -> Self {
        Self {
            term: Term::Tensor(0),
            arguments: Arguments {
                tensors: vec![tensor],
                ..Arguments::none()
            },
            ids: [vec![fresh_id()], Vec::new()],
        }
    }
}

impl<B: Backend> Formula<B> {
    /// `values` `[rows]` as a column.
    pub fn column(values: Tensor<B, 1>) -> Self {
        Self::from(values.unsqueeze_dim::<2>(1))
    }

    /// `values` `[columns]` as a row.
    pub fn row(values: Tensor<B, 1>) -> Self {
        Self::from(values.unsqueeze_dim::<2>(0))
    }

    /// The left and the right half of the columns of `tensor`, `[rows, 2 columns]`.
    ///
    /// # Panics
    /// If the number of columns is odd.
    pub fn halves(tensor: Tensor<B, 2>) -> [Self; 2] {
        let [_, twice] = tensor.dims();
        assert!(twice.is_multiple_of(2), "halves of {twice} columns");
        let id = fresh_id();
        [(false, tensor.clone()), (true, tensor)].map(|(right, tensor)| Self {
            term: Term::Half(0, right),
            arguments: Arguments {
                wide: vec![tensor],
                ..Arguments::none()
            },
            ids: [Vec::new(), vec![id]],
        })
    }

    /// The entries of `table` at `indices` `[rows]`, as a column.
    pub fn entries(table: Tensor<B, 1>, indices: Tensor<B, 1, Int>) -> Self {
        Self {
            term: Term::Table(0),
            arguments: Arguments {
                tables: vec![(table, indices)],
                ..Arguments::none()
            },
            ids: [Vec::new(), Vec::new()],
        }
    }

    fn number(value: f64) -> Self {
        Self {
            term: Term::Number(0),
            arguments: Arguments {
                numbers: vec![value as f32],
                ..Arguments::none()
            },
            ids: [Vec::new(), Vec::new()],
        }
    }

    fn unary(mut self, operation: Unary) -> Self {
        self.term = Term::Unary(operation, Box::new(self.term));
        self
    }

    fn binary(mut self, operation: Binary, mut other: Self) -> Self {
        let [tensors, wide] = &mut self.ids;
        let [other_tensors, other_wide] = other.ids;
        let places = Places {
            tensors: merge(
                (&mut self.arguments.tensors, tensors),
                (other.arguments.tensors, other_tensors),
            ),
            wide: merge(
                (&mut self.arguments.wide, wide),
                (other.arguments.wide, other_wide),
            ),
            tables: self.arguments.tables.len(),
            numbers: self.arguments.numbers.len(),
        };
        other.term.shift(&places);
        self.arguments.tables.extend(other.arguments.tables);
        self.arguments.numbers.extend(other.arguments.numbers);
        self.term = Term::Binary(operation, Box::new(self.term), Box::new(other.term));
        self
    }

    /// `e^x`
    #[must_use]
    pub fn exp(self) -> Self {
        self.unary(Unary::Exp)
    }

    /// The natural logarithm.
    #[must_use]
    pub fn log(self) -> Self {
        self.unary(Unary::Log)
    }

    /// The square root.
    #[must_use]
    pub fn sqrt(self) -> Self {
        self.unary(Unary::Sqrt)
    }

    /// `x x`
    #[must_use]
    pub fn square(self) -> Self {
        self.unary(Unary::Square)
    }

    /// The hyperbolic tangent.
    #[must_use]
    pub fn tanh(self) -> Self {
        self.unary(Unary::Tanh)
    }

    /// `log(1 + e^x)` as `max(x, 0) + log(1 + e^-|x|)`: the exponential of a large argument would be
    /// infinite, and its derivative not a number.
    #[must_use]
    pub fn softplus(self) -> Self {
        let small = (-self.clone().unary(Unary::Abs)).exp().unary(Unary::Log1p);
        self.unary(Unary::Relu) + small
    }

    /// The shape of the elements, `[rows, columns]`.
    pub fn shape(&self) -> [usize; 2] {
        self.arguments.shape()
    }

    /// 1 where it is above `limit`, else 0.
    #[must_use]
    pub fn above(mut self, limit: f64) -> Self {
        let place = self.arguments.numbers.len();
        self.arguments.numbers.push(limit as f32);
        self.term = Term::Above(Box::new(self.term), place);
        self
    }

    /// At least `low`, at most `high`; NaN stays NaN.
    #[must_use]
    pub fn clamp(mut self, low: f64, high: f64) -> Self {
        let place = self.arguments.numbers.len();
        self.arguments.numbers.extend([low as f32, high as f32]);
        self.term = Term::Clamp(Box::new(self.term), place, place + 1);
        self
    }
}

/// Where the arguments of a formula are among those of another one.
struct Places {
    tensors: Vec<usize>,
    wide: Vec<usize>,
    /// Behind as many.
    tables: usize,
    numbers: usize,
}

impl Term {
    /// The term with its arguments at other places.
    fn shift(&mut self, places: &Places) {
        match self {
            Self::Tensor(place) => *place = places.tensors[*place],
            Self::Half(place, _) => *place = places.wide[*place],
            Self::Table(place) => *place += places.tables,
            Self::Number(place) => *place += places.numbers,
            Self::Unary(_, x) => x.shift(places),
            Self::Binary(_, x, y) => {
                x.shift(places);
                y.shift(places);
            }
            Self::Clamp(x, low, high) => {
                x.shift(places);
                *low += places.numbers;
                *high += places.numbers;
            }
            Self::Above(x, limit) => {
                x.shift(places);
                *limit += places.numbers;
            }
        }
    }
}

impl<B: Backend> Arguments<B> {
    /// No arguments.
    pub const fn none() -> Self {
        Self {
            tensors: Vec::new(),
            wide: Vec::new(),
            tables: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// The shape that all arguments are repeated to.
    pub fn shape(&self) -> [usize; 2] {
        let tensors = self.tensors.iter().map(Tensor::dims);
        let wide = self.wide.iter().map(|x| [x.dims()[0], x.dims()[1] / 2]);
        let tables = self.tables.iter().map(|(_, rows)| [rows.dims()[0], 1]);
        tensors
            .chain(wide)
            .chain(tables)
            .fold([1, 1], |[rows, columns], [r, c]| {
                [rows.max(r), columns.max(c)]
            })
    }
}

impl<B: RescoreBackend> Formula<B> {
    /// The elements, `[rows, columns]`.
    pub fn compute(self) -> Tensor<B, 2> {
        self.reduced(Reduce::No)
    }

    /// The elements of a formula of one column, `[rows]`.
    pub fn compute_column(self) -> Tensor<B, 1> {
        let rows = self.arguments.shape()[0];
        self.compute().reshape([rows])
    }

    /// The mean of all elements, `[1]`.
    pub fn mean(self) -> Tensor<B, 1> {
        self.reduced(Reduce::Mean).reshape([1])
    }

    /// The sum of every row, `[rows]`.
    pub fn sum_of_rows(self) -> Tensor<B, 1> {
        let rows = self.arguments.shape()[0];
        self.reduced(Reduce::SumOfLast).reshape([rows])
    }

    /// The mean of every row, `[rows]`.
    pub fn mean_of_rows(self) -> Tensor<B, 1> {
        let rows = self.arguments.shape()[0];
        self.reduced(Reduce::MeanOfLast).reshape([rows])
    }

    fn reduced(self, reduce: Reduce) -> Tensor<B, 2> {
        let output = B::formula(&self.term, self.arguments, reduce);
        Tensor::from_primitive(TensorPrimitive::Float(output))
    }
}

/// What the default body has of a term: numbers meet tensors by the operations for numbers.
enum Value<B: Backend> {
    Tensor(Tensor<B, 2>),
    Number(f32),
}

fn value<B: Backend>(term: &Term, arguments: &Arguments<B>) -> Value<B> {
    let tensor = |term| match value(term, arguments) {
        Value::Tensor(x) => x,
        Value::Number(_) => unreachable!("a number alone is no formula"),
    };
    Value::Tensor(match term {
        Term::Number(place) => return Value::Number(arguments.numbers[*place]),
        Term::Tensor(place) => arguments.tensors[*place].clone(),
        Term::Half(place, right) => {
            let wide = arguments.wide[*place].clone();
            let columns = wide.dims()[1] / 2;
            wide.narrow(1, if *right { columns } else { 0 }, columns)
        }
        Term::Table(place) => {
            let (table, rows) = arguments.tables[*place].clone();
            table.select(0, rows).unsqueeze_dim(1)
        }
        Term::Unary(operation, x) => match operation {
            Unary::Negative => tensor(x).neg(),
            Unary::Exp => tensor(x).exp(),
            Unary::Log => tensor(x).log(),
            Unary::Sqrt => tensor(x).sqrt(),
            Unary::Square => {
                let x = tensor(x);
                x.clone() * x
            }
            Unary::Tanh => tensor(x).tanh(),
            Unary::Abs => tensor(x).abs(),
            Unary::Relu => relu(tensor(x)),
            Unary::Log1p => tensor(x).log1p(),
        },
        Term::Clamp(x, low, high) => {
            tensor(x).clamp(arguments.numbers[*low], arguments.numbers[*high])
        }
        Term::Above(x, limit) => tensor(x).greater_elem(arguments.numbers[*limit]).float(),
        Term::Binary(operation, x, y) => match (value(x, arguments), value(y, arguments)) {
            (Value::Tensor(x), Value::Tensor(y)) => match operation {
                Binary::Add => x + y,
                Binary::Sub => x - y,
                Binary::Mul => x * y,
                Binary::Div => x / y,
            },
            (Value::Tensor(x), Value::Number(y)) => match operation {
                Binary::Add => x.add_scalar(y),
                Binary::Sub => x.sub_scalar(y),
                Binary::Mul => x.mul_scalar(y),
                Binary::Div => x.div_scalar(y),
            },
            (Value::Number(_), _) => unreachable!("numbers are the right side"),
        },
    })
}

/// The default body of [`RescoreBackend::formula`].
pub(crate) fn reference<B: Backend>(
    term: &Term,
    arguments: &Arguments<B>,
    reduce: Reduce,
) -> FloatTensor<B> {
    let Value::Tensor(x) = value(term, arguments) else {
        unreachable!("a number alone is no formula")
    };
    // A view of the same shape might be summed in another order.
    let shape = arguments.shape();
    let x = if x.dims() == shape {
        x
    } else {
        x.expand(shape)
    };
    let reduced = match reduce {
        Reduce::No => x,
        Reduce::SumOfLast => x.sum_dim(1),
        Reduce::MeanOfLast => x.mean_dim(1),
        Reduce::Mean => x.reshape([shape[0] * shape[1]]).mean().unsqueeze_dim(1),
    };
    reduced.into_primitive().tensor()
}

impl<B: Backend> Neg for Formula<B> {
    type Output = Self;

    fn neg(self) -> Self {
        self.unary(Unary::Negative)
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $operation:ident) => {
        impl<B: Backend> $trait for Formula<B> {
            type Output = Self;

            fn $method(self, other: Self) -> Self {
                self.binary(Binary::$operation, other)
            }
        }

        impl<B: Backend> $trait<f64> for Formula<B> {
            type Output = Self;

            fn $method(self, other: f64) -> Self {
                self.binary(Binary::$operation, Self::number(other))
            }
        }
    };
}
operator!(Add, add, Add);
operator!(Sub, sub, Sub);
operator!(Mul, mul, Mul);
operator!(Div, div, Div);
