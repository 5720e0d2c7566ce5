//! Formulas and their derivatives against tensor code and its automatic differentiation.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, activation::softplus};
use rescore_kernels::{RescoreBackend, formula::Formula, total};

use super::{assert_close, normals, on_both_backends, tensor, to_vec};

const ROWS: usize = 7;
const COLUMNS: usize = 5;

/// Values and derivatives by every argument of an expression: a matrix, a column, a row, a single
/// number and a matrix twice as wide, all tracked.
fn all<B: RescoreBackend>(
    expression: impl Fn([Tensor<Autodiff<B>, 2>; 5]) -> Tensor<Autodiff<B>, 2>,
) -> Vec<Vec<f32>> {
    let random = |name: &str, shape: [usize; 2]| {
        let values = normals(name, shape.iter().product(), 1.0);
        Tensor::<Autodiff<B>, 2>::from_inner(tensor::<B, 2>(values, shape))
    };
    let leaf = |name, shape| random(name, shape).require_grad();
    let arguments = [
        leaf("x", [ROWS, COLUMNS]),
        leaf("column", [ROWS, 1]),
        leaf("row", [1, COLUMNS]),
        leaf("one", [1, 1]),
        leaf("wide", [ROWS, 2 * COLUMNS]),
    ];
    let output = expression(arguments.clone());
    // Every element has a derivative of its own.
    let shape = output.dims();
    let factors = random("factors", shape);
    let grads = total(output.clone() * factors).backward();
    let derivative = |x: &Tensor<Autodiff<B>, 2>| {
        let found = x.grad(&grads).map(to_vec);
        found.unwrap_or_else(|| vec![0.0; x.dims().iter().product()])
    };
    let derivatives = arguments.iter().map(derivative);
    std::iter::once(to_vec(output.inner()))
        .chain(derivatives)
        .collect()
}

fn check(what: &str, formulas: &[Vec<f32>], code: &[Vec<f32>]) {
    for (i, (formula, code)) in formulas.iter().zip(code).enumerate() {
        let code: Vec<f64> = code.iter().map(|x| f64::from(*x)).collect();
        assert_close(formula, &code, 1e-5, &format!("{what}, {i}"));
    }
}

/// A test that a formula is the tensor code that it stands for.
macro_rules! agrees {
    ($name:ident, |$x:ident, $column:ident, $row:ident, $one:ident, $wide:ident| $formula:expr, $code:expr) => {
        fn $name<B: RescoreBackend>() {
            let formulas = all::<B>(|[x, column, row, one, wide]| {
                let [$x, $column, $row, $one] = [x, column, row, one].map(Formula::from);
                let $wide = Formula::halves(wide);
                $formula
            });
            let code = all::<B>(|[$x, $column, $row, $one, wide]| {
                let $wide = [0, COLUMNS].map(|first| wide.clone().narrow(1, first, COLUMNS));
                $code
            });
            check(stringify!($name), &formulas, &code);
        }
    };
}

agrees!(
    operations,
    |x, column, _row, _one, _wide| {
        let positive = x.clone().square() + 0.5;
        (x.clone().exp() * column - (positive.clone().log() / positive.clone().sqrt())).compute()
    },
    {
        let positive = x.clone().powi_scalar(2) + 0.5;
        x.exp() * column - positive.clone().log() / positive.sqrt()
    }
);

agrees!(
    bounds,
    |x, _column, row, _one, wide| {
        let [left, right] = wide;
        let bounded = (x.clone() - row).clamp(-0.4, 0.6) * left.above(0.1);
        (bounded / (right.square() + 1.0) - x.tanh()).compute()
    },
    {
        let [left, right] = wide;
        let above = left.greater_elem(0.1).float();
        let bounded = (x.clone() - row).clamp(-0.4, 0.6) * above;
        bounded / (right.powi_scalar(2) + 1.0) - x.tanh()
    }
);

agrees!(
    what_is_used_twice,
    |x, _column, _row, one, wide| {
        let [left, right] = wide;
        let u = left.clone() + right.exp() * x.clone();
        ((u.clone() * -2.0).softplus() * u.clone() - one * left + u.tanh())
            .sum_of_rows()
            .unsqueeze_dim(1)
    },
    {
        let [left, right] = wide;
        let u = left.clone() + right.exp() * x;
        (softplus(u.clone() * -2.0, 1.0) * u.clone() - one * left + u.tanh()).sum_dim(1)
    }
);

agrees!(
    means_of_rows,
    |x, _column, row, _one, _wide| (x * 3.0 / (row.exp() * 2.0))
        .mean_of_rows()
        .unsqueeze_dim(1),
    (x * 3.0 / (row.exp() * 2.0)).mean_dim(1)
);

agrees!(
    means,
    |_x, column, _row, one, _wide| (-column * one.clone() - one).mean().unsqueeze_dim(1),
    (column.neg() * one.clone() - one).mean().unsqueeze_dim(1)
);

agrees!(
    half_of_a_wide_tensor,
    |_x, _column, _row, _one, wide| wide[1].clone().square().compute(),
    wide[1].clone().powi_scalar(2)
);

agrees!(
    more_tensors_than_a_node_has_parents,
    |x, column, row, one, wide| {
        let [left, right] = wide;
        (x * column + row * one - left * right).compute()
    },
    {
        let [left, right] = wide;
        x * column + row * one - left * right
    }
);

on_both_backends!(
    operations,
    bounds,
    what_is_used_twice,
    means_of_rows,
    means,
    half_of_a_wide_tensor,
    more_tensors_than_a_node_has_parents,
);
