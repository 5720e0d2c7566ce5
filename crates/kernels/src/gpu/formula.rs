//! Formulas, compiled as kernels: what they compute is known when a kernel is made, the numbers in them
//! are its arguments.

use burn::tensor::{Shape, Tensor};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, kernel::into_contiguous, tensor::CubeTensor,
};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{UNITS, empty, plan::grid_of, primitive, tensor};
use crate::formula::{Arguments, Binary, Reduce, Term, Unary, reference};

/// Elements from which on their mean is that of the means of their rows: one cube adds what it is given.
const LONG: usize = 1 << 13;

#[derive(CubeType, CubeLaunch)]
struct Inputs {
    tensors: Sequence<Array<f32>>,
    wide: Sequence<Array<f32>>,
    tables: Sequence<Array<f32>>,
    indices: Sequence<Array<i32>>,
    numbers: Sequence<f32>,
}

/// A term with everything that a kernel is compiled for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Compiled {
    term: Term,
    /// Along which axes a tensor is as long as the result; elsewhere its length is 1.
    spans: Vec<[bool; 2]>,
}

impl Compiled {
    /// The same tensors with another term.
    fn of(&self, term: &Term) -> Self {
        Self {
            term: term.clone(),
            spans: self.spans.clone(),
        }
    }

    /// The terms that this one is made of.
    fn parts(&self) -> Vec<Self> {
        match &self.term {
            Term::Tensor(_) | Term::Half(..) | Term::Table(_) | Term::Number(_) => Vec::new(),
            Term::Unary(_, x) | Term::Clamp(x, ..) | Term::Above(x, _) => vec![self.of(x)],
            Term::Binary(_, x, y) => vec![self.of(x), self.of(y)],
        }
    }

    /// Its place where it is an argument, or those of its bounds.
    fn places(&self) -> [usize; 2] {
        match self.term {
            Term::Tensor(place)
            | Term::Half(place, _)
            | Term::Table(place)
            | Term::Number(place) => [place; 2],
            Term::Clamp(_, low, high) => [low, high],
            Term::Above(_, limit) => [limit; 2],
            Term::Unary(..) | Term::Binary(..) => [0; 2],
        }
    }

    fn is(&self, test: fn(&Term) -> bool) -> bool {
        test(&self.term)
    }
}

/// The element at `row` and `column`.
#[cube]
fn element(
    inputs: &Inputs,
    row: usize,
    column: usize,
    columns: usize,
    #[comptime] compiled: Compiled,
) -> f32 {
    let place = comptime!(compiled.places()[0]);
    if comptime!(compiled.is(|term| matches!(term, Term::Tensor(_)))) {
        let [down, across] = comptime!(compiled.spans[place]);
        let mut at = 0usize;
        if comptime!(down && across) {
            at = row * columns + column;
        } else if comptime!(down) {
            at = row;
        } else if comptime!(across) {
            at = column;
        }
        inputs.tensors.index(place)[at]
    } else if comptime!(compiled.is(|term| matches!(term, Term::Half(_, false)))) {
        inputs.wide.index(place)[2 * row * columns + column]
    } else if comptime!(compiled.is(|term| matches!(term, Term::Half(_, true)))) {
        inputs.wide.index(place)[(2 * row + 1) * columns + column]
    } else if comptime!(compiled.is(|term| matches!(term, Term::Table(_)))) {
        let entry = inputs.indices.index(place)[row];
        inputs.tables.index(place)[entry as usize]
    } else if comptime!(compiled.is(|term| matches!(term, Term::Number(_)))) {
        *inputs.numbers.index(place)
    } else {
        let x = element(
            inputs,
            row,
            column,
            columns,
            comptime!(compiled.parts()[0].clone()),
        );
        if comptime!(compiled.is(|term| matches!(term, Term::Unary(Unary::Negative, _)))) {
            -x
        } else if comptime!(compiled.is(|term| matches!(term, Term::Unary(Unary::Exp, _)))) {
            f32::exp(x)
        } else if comptime!(compiled.is(|term| matches!(term, Term::Unary(Unary::Log, _)))) {
            f32::ln(x)
        } else if comptime!(compiled.is(|term| matches!(term, Term::Unary(Unary::Sqrt, _)))) {
            f32::sqrt(x)
        } else if comptime!(compiled.is(|term| matches!(term, Term::Unary(Unary::Square, _)))) {
            x * x
        } else if comptime!(compiled.is(|term| matches!(term, Term::Unary(Unary::Tanh, _)))) {
            f32::tanh(x)
        } else if comptime!(compiled.is(|term| matches!(term, Term::Unary(Unary::Abs, _)))) {
            f32::abs(x)
        } else if comptime!(compiled.is(|term| matches!(term, Term::Unary(Unary::Relu, _)))) {
            select(x.is_nan(), x, f32::max(x, 0.0))
        } else if comptime!(compiled.is(|term| matches!(term, Term::Unary(Unary::Log1p, _)))) {
            f32::log1p(x)
        } else if comptime!(compiled.is(|term| matches!(term, Term::Above(..)))) {
            let limit = *inputs.numbers.index(place);
            select(x > limit, f32::new(1.0), f32::new(0.0))
        } else if comptime!(compiled.is(|term| matches!(term, Term::Clamp(..)))) {
            let low = *inputs.numbers.index(place);
            let high = *inputs.numbers.index(comptime!(compiled.places()[1]));
            // What a device makes of a NaN between bounds differs.
            select(x.is_nan(), x, clamp(x, low, high))
        } else {
            let y = element(
                inputs,
                row,
                column,
                columns,
                comptime!(compiled.parts()[1].clone()),
            );
            if comptime!(compiled.is(|term| matches!(term, Term::Binary(Binary::Add, ..)))) {
                x + y
            } else if comptime!(compiled.is(|term| matches!(term, Term::Binary(Binary::Sub, ..)))) {
                x - y
            } else if comptime!(compiled.is(|term| matches!(term, Term::Binary(Binary::Mul, ..)))) {
                x * y
            } else {
                x / y
            }
        }
    }
}

#[cube(launch)]
fn elements_kernel(
    inputs: &Inputs,
    output: &mut Array<f32>,
    columns: usize,
    #[comptime] compiled: Compiled,
) {
    let i = ABSOLUTE_POS;
    if i < output.len() {
        output[i] = element(inputs, i / columns, i % columns, columns, compiled);
    }
}

/// Means of `count` elements in their order, a cube for each: every thread adds every 256th, then the
/// threads' sums are halved until one is left.
#[cube(launch)]
fn means_kernel(
    inputs: &Inputs,
    output: &mut Array<f32>,
    columns: usize,
    count: usize,
    divisor: f32,
    #[comptime] compiled: Compiled,
) {
    let unit = UNIT_POS as usize;
    let mut sums = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    // A grid may have a few cubes more than there are means: they repeat the last.
    let mean = usize::min(CUBE_POS, output.len() - 1);
    let begin = mean * count;
    let mut sum = 0.0f32;
    let mut i = unit;
    while i < count {
        let place = begin + i;
        sum += element(
            inputs,
            place / columns,
            place % columns,
            columns,
            comptime!(compiled.clone()),
        );
        i += UNITS as usize;
    }
    sums[unit] = sum;
    sync_cube();
    #[unroll]
    for step in 0..8usize {
        let half = comptime!(128usize >> step);
        if unit < half {
            sums[unit] = sums[unit] + sums[unit + half];
        }
        sync_cube();
    }
    if unit == 0 {
        output[mean] = sums[0] / divisor;
    }
}

/// [`crate::RescoreBackend::formula`]
pub(super) fn compute<R, T>(
    term: &Term,
    arguments: Arguments<CubeBackend<R, f32, i32, T>>,
    reduce: Reduce,
) -> CubeTensor<R>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let shape = arguments.shape();
    let [rows, columns] = shape;
    let count = match reduce {
        Reduce::No => 1,
        Reduce::SumOfLast | Reduce::MeanOfLast => columns,
        Reduce::Mean => rows * columns,
    };
    let some = arguments.tensors.first().or(arguments.wide.first());
    let device = some.map_or_else(|| arguments.tables[0].0.device(), Tensor::device);
    let client = R::client(&device);
    let tensors = arguments.tensors.len() + arguments.wide.len();
    let bindings = tensors + 2 * arguments.tables.len() + 2;
    if bindings > client.properties().hardware.max_bindings as usize || count == 0 {
        return reference(term, &arguments, reduce);
    }
    if reduce == Reduce::Mean && count > LONG && rows > 1 && columns > 1 {
        let rows = compute(term, arguments, Reduce::MeanOfLast);
        let arguments = Arguments {
            tensors: vec![tensor::<R, T, 2>(rows)],
            ..Arguments::none()
        };
        return compute(&Term::Tensor(0), arguments, Reduce::Mean);
    }
    let mut spans = Vec::new();
    for x in &arguments.tensors {
        let fits = |axis: usize| match x.dims()[axis] {
            1 => shape[axis] == 1,
            length => {
                assert_eq!(length, shape[axis], "an argument of another length");
                true
            }
        };
        spans.push([fits(0), fits(1)]);
    }
    for x in &arguments.wide {
        assert_eq!(x.dims(), [rows, 2 * columns], "a wide argument");
    }
    for (_, indices) in &arguments.tables {
        assert_eq!(indices.dims(), [rows], "an index for each row");
    }
    let compiled = Compiled {
        term: term.clone(),
        spans,
    };
    let (mut tables, mut indices) = (SequenceArg::new(), SequenceArg::new());
    for (table, rows) in arguments.tables {
        tables.push(primitive(table).into_array_arg());
        indices.push(into_contiguous(rows.into_primitive()).into_array_arg());
    }
    let inputs = InputsLaunch::new(
        (arguments.tensors.into_iter())
            .map(|x| primitive(x).into_array_arg())
            .collect(),
        (arguments.wide.into_iter())
            .map(|x| primitive(x).into_array_arg())
            .collect(),
        tables,
        indices,
        arguments.numbers.into_iter().collect(),
    );
    let output_shape = match reduce {
        Reduce::No => [rows, columns],
        Reduce::SumOfLast | Reduce::MeanOfLast => [rows, 1],
        Reduce::Mean => [1, 1],
    };
    let output = empty(&client, &device, Shape::from(output_shape));
    let cube_dim = CubeDim::new_1d(UNITS);
    if reduce == Reduce::No {
        elements_kernel::launch::<R>(
            &client,
            calculate_cube_count_elemwise(&client, rows * columns, cube_dim),
            cube_dim,
            inputs,
            output.clone().into_array_arg(),
            columns,
            compiled,
        );
    } else {
        means_kernel::launch::<R>(
            &client,
            grid_of(&client, rows * columns / count),
            cube_dim,
            inputs,
            output.clone().into_array_arg(),
            columns,
            count,
            if reduce == Reduce::SumOfLast {
                1.0
            } else {
                count as f32
            },
            compiled,
        );
    }
    output
}
