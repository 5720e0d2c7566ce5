//! The target: a mixture of Gaussians in the plane, restricted to the box of all actions, with its
//! energy, exact samples of it, and distances from it.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::NoiseKey;

/// A point of the plane.
pub type Point = [f32; 2];

/// One Gaussian of the mixture, restricted to the box `[-1, 1]^2`.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// Centre before the restriction.
    pub mean: [f64; 2],
    /// Standard deviation of both coordinates before the restriction.
    pub std: f64,
    /// Share of the target's mass; the shares add up to 1.
    pub mass: f64,
}

/// The target: four modes inside the box, one at a wall and one in a corner. Every coordinate of a
/// centre lies on a wall or at least 4 standard deviations away from both, and every centre more
/// than 6 away from the next mode.
pub const MODES: [Mode; 6] = [
    Mode {
        mean: [-0.5, -0.45],
        std: 0.12,
        mass: 0.3,
    },
    Mode {
        mean: [0.5, -0.5],
        std: 0.08,
        mass: 0.1,
    },
    Mode {
        mean: [-0.4, 0.5],
        std: 0.10,
        mass: 0.1,
    },
    Mode {
        mean: [0.5, 0.45],
        std: 0.09,
        mass: 0.2,
    },
    Mode {
        mean: [-1.0, 0.05],
        std: 0.11,
        mass: 0.15,
    },
    Mode {
        mean: [1.0, 1.0],
        std: 0.12,
        mass: 0.15,
    },
];

impl Mode {
    /// Share of the unrestricted Gaussian inside the box, up to 1e-4: a wall through the centre
    /// halves it.
    fn inside(&self) -> f64 {
        let on_walls = self.mean.iter().filter(|x| x.abs() >= 1.0).count();
        0.5_f64.powi(on_walls as i32)
    }
}

/// Logarithm of the target's density at `points` `[rows, 2]` of the box: `[rows]`.
pub fn log_density<B: Backend>(points: Tensor<B, 2>) -> Tensor<B, 1> {
    // The exponent -|x - mean|^2 / (2 std^2) of every mode is linear in the coordinates and their
    // squares, so that two small matrix products give it for all modes at once.
    let device = points.device();
    let per_mode = |f: &dyn Fn(&Mode) -> f64| MODES.each_ref().map(|mode| f(mode) as f32);
    let row = |values: [f32; MODES.len()]| Tensor::<B, 1>::from_floats(values, &device);
    let precision = |mode: &Mode| 1.0 / (mode.std * mode.std);
    let linear = Tensor::stack(
        vec![
            row(per_mode(&|mode| mode.mean[0] * precision(mode))),
            row(per_mode(&|mode| mode.mean[1] * precision(mode))),
        ],
        0,
    );
    let half = row(per_mode(&|mode| -0.5 * precision(mode)));
    let quadratic = Tensor::stack(vec![half.clone(), half], 0);
    let constant = row(per_mode(&|mode| {
        let [x, y] = mode.mean;
        let peak = mode.mass * precision(mode) / (std::f64::consts::TAU * mode.inside());
        peak.ln() - 0.5 * (x * x + y * y) * precision(mode)
    }));
    let squares = points.clone() * points.clone();
    let of_modes: Tensor<B, 2> =
        points.matmul(linear) + squares.matmul(quadratic) + constant.unsqueeze();
    let largest = of_modes.clone().max_dim(1);
    let sum = (of_modes - largest.clone()).exp().sum_dim(1);
    (largest + sum.log()).squeeze_dim(1)
}

/// `count` independent samples of the target, or of some of its modes.
pub fn exact_samples(modes: &[Mode], count: usize, key: NoiseKey) -> Vec<Point> {
    let whole: f64 = modes.iter().map(|mode| mode.mass).sum();
    (0..count as u32)
        .map(|row| {
            let choice = whole * f64::from(key.uniform(row, 0, 1));
            let mut below = 0.0;
            let mode = modes.iter().find(|mode| {
                below += mode.mass;
                choice < below
            });
            // the shares add up to 1 only up to rounding
            let mode = mode.unwrap_or(&modes[modes.len() - 1]);
            // Rejection: the first proposal inside the box is a sample of the restriction.
            let mut proposals = (0..).map(|attempt| {
                let [x, y, ..] = key.normals(row, 0, attempt, 0);
                [(0, x), (1, y)].map(|(i, z)| (mode.mean[i] + mode.std * f64::from(z)) as f32)
            });
            let inside = |point: &Point| point.iter().all(|x| x.abs() <= 1.0);
            proposals
                .find(inside)
                .expect("a quarter of the proposals is inside")
        })
        .collect()
}

/// Share of `points` that is nearest to the centre of each mode.
pub fn masses(points: &[Point]) -> [f64; MODES.len()] {
    let mut masses = [0.0; MODES.len()];
    for point in points {
        masses[nearest(*point)] += 1.0 / points.len() as f64;
    }
    masses
}

/// The mode whose centre is nearest to `point`.
pub fn nearest(point: Point) -> usize {
    let distances = MODES.map(|mode| distance(point, mode.mean.map(|x| x as f32)));
    let nearest = (0..MODES.len()).min_by(|a, b| distances[*a].total_cmp(&distances[*b]));
    nearest.expect("there are modes")
}

/// The largest deviation of [`masses`] from those of `modes`, the first of the target's.
pub fn mass_error(modes: &[Mode], points: &[Point]) -> f64 {
    let whole: f64 = modes.iter().map(|mode| mode.mass).sum();
    let errors = masses(points).into_iter().zip(modes);
    errors
        .map(|(share, mode)| (share - mode.mass / whole).abs())
        .fold(0.0, f64::max)
}

/// Energy distance of the distributions that `x` and `y` are samples of:
/// `2 E|X - Y| - E|X - X'| - E|Y - Y'|`, 0 only where they agree (Székely and Rizzo 2013). An
/// unbiased estimate, so it may come out a little below 0.
pub fn energy_distance(x: &[Point], y: &[Point]) -> f64 {
    let between = |a: &[Point], b: &[Point]| -> f64 {
        a.iter()
            .map(|p| b.iter().map(|q| distance(*p, *q)).sum::<f64>())
            .sum()
    };
    let within = |a: &[Point]| between(a, a) / (a.len() * (a.len() - 1)) as f64;
    2.0 * between(x, y) / (x.len() * y.len()) as f64 - within(x) - within(y)
}

fn distance(p: Point, q: Point) -> f64 {
    f64::from((p[0] - q[0]).hypot(p[1] - q[1]))
}
