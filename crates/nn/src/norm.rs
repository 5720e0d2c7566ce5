//! Norms: inputs brought to mean 0 and variance 1 (or mean square 1), then scaled and shifted by
//! parameters. All variances are those of the population: divided by the count.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{RescoreBackend, layer_norm::layer_norm, residual::NormView};

use crate::{Leaf, Role, Tree};

/// Axis of the columns of `[members, rows, columns]`.
const COLUMNS: usize = 2;
/// Axis of the rows of `[members, rows, columns]`.
const ROWS: usize = 1;

/// Added to the variance of a row (flax's `LayerNorm`, and so that of `SimBa`; `FlashSAC`'s RMS norm).
pub(crate) const ROW_EPSILON: f64 = 1e-6;
/// Added to the variance of a column over the batch (XQC).
const BATCH_EPSILON: f64 = 1e-3;
/// Weight of a batch in the running statistics (XQC).
const BATCH_WEIGHT: f64 = 0.01;

/// `x / sqrt(square + epsilon)`
fn divide_by_root<B: Backend>(x: Tensor<B, 3>, square: Tensor<B, 3>, epsilon: f64) -> Tensor<B, 3> {
    x / square.add_scalar(epsilon).sqrt()
}

/// Mean and variance of `x` along `axis`, which stays with length 1, and the deviations from the
/// mean.
fn moments<B: Backend>(x: Tensor<B, 3>, axis: usize) -> [Tensor<B, 3>; 3] {
    let mean = x.clone().mean_dim(axis);
    let deviation = x - mean.clone();
    let variance = (deviation.clone() * deviation.clone()).mean_dim(axis);
    [mean, variance, deviation]
}

/// `width` ones for each of `members`, `[members, 1, width]`: where a scale starts.
fn ones<B: Backend>([members, width]: [usize; 2], device: &B::Device) -> Tensor<B, 3> {
    Tensor::ones([members, 1, width], device)
}

/// As [`ones`]: where a shift starts.
fn zeros<B: Backend>([members, width]: [usize; 2], device: &B::Device) -> Tensor<B, 3> {
    Tensor::zeros([members, 1, width], device)
}

/// Calls `f` for the leaf `name` below `path`.
fn leaf<B: Backend, C: Backend>(
    f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    (path, name): (&str, &str),
    role: Role,
    tensor: &Tensor<B, 3>,
) -> Tensor<C, 3> {
    let name = &format!("{path}{name}");
    f(Leaf { name, role }, tensor)
}

/// Every row in its own standard deviations from its own mean (Ba, Kiros and Hinton 2016).
#[derive(Debug, Clone)]
pub struct LayerNorm<B: Backend> {
    /// `[members, 1, width]`, from 1.
    pub scale: Tensor<B, 3>,
    /// `[members, 1, width]`, from 0.
    pub shift: Tensor<B, 3>,
}

impl<B: Backend> LayerNorm<B> {
    /// Scale 1 and shift 0 for rows of `width`.
    pub fn init(members: usize, width: usize, device: &B::Device) -> Self {
        let dims = [members, width];
        Self {
            scale: ones(dims, device),
            shift: zeros(dims, device),
        }
    }
}

impl<B: Backend> LayerNorm<B> {
    /// The parameters as kernels take them.
    pub(crate) fn view(&self) -> NormView<B> {
        NormView {
            scale: self.scale.clone(),
            shift: self.shift.clone(),
        }
    }
}

impl<B: RescoreBackend> LayerNorm<B> {
    /// `(x - mean) / sqrt(variance + 1e-6) scale + shift` of every row of `x` `[members or 1, rows,
    /// width]`; result `[members, rows, width]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        layer_norm(x, self.scale.clone(), self.shift.clone(), ROW_EPSILON)
    }
}

impl<B: Backend> Tree<B> for LayerNorm<B> {
    type On<C: Backend> = LayerNorm<C>;

    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> LayerNorm<C> {
        LayerNorm {
            scale: leaf(f, (path, "scale"), Role::Scale, &self.scale),
            shift: leaf(f, (path, "shift"), Role::Bias, &self.shift),
        }
    }
}

/// Every row in units of its own root mean square (Zhang and Sennrich 2019).
#[derive(Debug, Clone)]
pub struct RmsNorm<B: Backend> {
    /// `[members, 1, width]`, from 1.
    pub scale: Tensor<B, 3>,
}

impl<B: Backend> RmsNorm<B> {
    /// Scale 1 for rows of `width`.
    pub fn init(members: usize, width: usize, device: &B::Device) -> Self {
        Self {
            scale: ones([members, width], device),
        }
    }

    /// `x / sqrt(mean of x^2 + 1e-6) scale` of every row of `x` `[members or 1, rows, width]`; result
    /// `[members, rows, width]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let square = (x.clone() * x.clone()).mean_dim(COLUMNS);
        divide_by_root(x, square, ROW_EPSILON) * self.scale.clone()
    }
}

impl<B: Backend> Tree<B> for RmsNorm<B> {
    type On<C: Backend> = RmsNorm<C>;

    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> RmsNorm<C> {
        RmsNorm {
            scale: leaf(f, (path, "scale"), Role::Scale, &self.scale),
        }
    }
}

/// Every column in standard deviations from its mean, those of the batch in training, running ones
/// otherwise (Ioffe and Szegedy 2015; numbers as in XQC, Palenicek et al. 2025).
#[derive(Debug, Clone)]
pub struct BatchNorm<B: Backend> {
    /// `[members, 1, width]`, from 1.
    pub scale: Tensor<B, 3>,
    /// `[members, 1, width]`, from 0.
    pub shift: Tensor<B, 3>,
    /// Running mean, `[members, 1, width]`, from 0.
    pub mean: Tensor<B, 3>,
    /// Running variance, `[members, 1, width]`, from 1.
    pub variance: Tensor<B, 3>,
}

impl<B: Backend> BatchNorm<B> {
    /// Scale 1, shift 0 and the statistics of no batch for rows of `width`.
    pub fn init(members: usize, width: usize, device: &B::Device) -> Self {
        let dims = [members, width];
        Self {
            scale: ones(dims, device),
            shift: zeros(dims, device),
            mean: zeros(dims, device),
            variance: ones(dims, device),
        }
    }

    /// `(x - mean) / sqrt(variance + 1e-3) scale + shift` with the running statistics; `x` `[members
    /// or 1, rows, width]`, result `[members, rows, width]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.scaled(x - self.mean.clone(), self.variance.clone())
    }

    /// As [`BatchNorm::forward`] with mean and variance of the rows of `x`, through which
    /// derivatives pass, and the running mean and variance after it: `0.99` of the old ones, `0.01`
    /// of these.
    pub fn forward_training(&self, x: Tensor<B, 3>) -> (Tensor<B, 3>, [Tensor<B, 3>; 2]) {
        let [mean, variance, deviation] = moments(x, ROWS);
        let moved = |old: &Tensor<B, 3>, new: &Tensor<B, 3>| {
            let kept = old.clone().mul_scalar(1.0 - BATCH_WEIGHT);
            kept + new.clone().detach().mul_scalar(BATCH_WEIGHT)
        };
        let running = [moved(&self.mean, &mean), moved(&self.variance, &variance)];
        (self.scaled(deviation, variance), running)
    }

    fn scaled(&self, deviation: Tensor<B, 3>, variance: Tensor<B, 3>) -> Tensor<B, 3> {
        let normal = divide_by_root(deviation, variance, BATCH_EPSILON);
        normal * self.scale.clone() + self.shift.clone()
    }

    /// [`Tree::map`] with another role for the shift.
    pub(crate) fn map_with<C: Backend>(
        &self,
        path: &str,
        shift: Role,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> BatchNorm<C> {
        BatchNorm {
            scale: leaf(f, (path, "scale"), Role::Scale, &self.scale),
            shift: leaf(f, (path, "shift"), shift, &self.shift),
            mean: leaf(f, (path, "mean"), Role::Statistic, &self.mean),
            variance: leaf(f, (path, "variance"), Role::Statistic, &self.variance),
        }
    }
}

impl<B: Backend> Tree<B> for BatchNorm<B> {
    type On<C: Backend> = BatchNorm<C>;

    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> BatchNorm<C> {
        self.map_with(path, Role::Bias, f)
    }
}
