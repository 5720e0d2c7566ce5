//! Particles that climb critics, against slopes by finite differences.

use burn::{
    backend::{Flex, flex::FlexDevice},
    tensor::{Tensor, TensorData},
};
use rescore_critics::{Critics, Head, Support};
use rescore_kernels::{Activation, Combine, NoiseKey};
use rescore_nn::{Initializer, Shape};
use rescore_objectives::ascent::climb;

const DIMS: [usize; 2] = [4, 3];
const STATES: usize = 6;
const DEVICE: FlexDevice = FlexDevice;

fn critics(shape: &Shape, head: Head) -> Critics<Flex> {
    let key = NoiseKey::new(3, "critics");
    Critics::init(DIMS, 2, shape, head, key, &DEVICE)
}

/// Twins of one value and twins of a distribution.
fn all() -> [Critics<Flex>; 2] {
    let scalar = Shape::Mlp {
        hidden_dims: vec![32, 32],
        activation: Activation::Mish,
        initializer: Initializer::LecunNormal,
    };
    let residual = Shape::Residual {
        width: 32,
        blocks: 1,
        head_gain: 1.0,
    };
    let support = Support::new([-5.0, 5.0], 11).expect("two bounds");
    [
        critics(&scalar, Head::Scalar),
        critics(&residual, Head::Categorical(support)),
    ]
}

fn draw(name: &str, rows: usize, columns: usize) -> Tensor<Flex, 2> {
    let mut values = vec![0.0; rows * columns];
    NoiseKey::new(5, name).fill_normals(&mut values, columns, 0, 0, 0);
    Tensor::from_data(TensorData::new(values, [rows, columns]), &DEVICE)
}

/// Particles well within the bounds.
fn particles(count: usize) -> Tensor<Flex, 3> {
    let rows = draw("particles", STATES * count, DIMS[1]);
    let within = rows.mul_scalar(0.2).clamp(-0.5, 0.5);
    within.reshape([STATES, count, DIMS[1]])
}

fn values<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Derivatives of the mean of the critics by every component of every particle; none for particles
/// beside a kink of a rectifier, where slopes of both sides differ.
fn slopes(critics: &Critics<Flex>, count: usize) -> Vec<Option<Vec<f64>>> {
    let observations = draw("observations", STATES, DIMS[0]);
    let width = 5e-4;
    let score = |particles| values(critics.score(Combine::Mean, observations.clone(), particles));
    let here = score(particles(count));
    let sides: Vec<[Vec<f64>; 2]> = (0..DIMS[1])
        .map(|component| {
            [width, -width].map(|by| {
                let mut step = [0.0; DIMS[1]];
                step[component] = by;
                let step = Tensor::<Flex, 1>::from_floats(step, &DEVICE);
                let moved = score(particles(count) + step.reshape([1, 1, DIMS[1]]));
                let pairs = moved.iter().zip(&here);
                pairs.map(|(q, here)| (q - here) / by).collect()
            })
        })
        .collect();
    let of = |row: usize| {
        let sides = sides.iter().map(|[above, below]| [above[row], below[row]]);
        let slope: Vec<f64> = sides.clone().map(|[a, b]| 0.5 * (a + b)).collect();
        let largest = slope.iter().fold(0.0_f64, |max, g| max.max(g.abs()));
        let smooth = sides.clone().all(|[a, b]| (a - b).abs() < 0.02 * largest);
        smooth.then_some(slope)
    };
    (0..STATES * count).map(of).collect()
}

fn climbed(critics: &Critics<Flex>, count: usize, size: f64) -> Vec<f64> {
    let observations = draw("observations", STATES, DIMS[0]);
    values(climb(
        critics,
        observations,
        particles(count),
        (Combine::Mean, size),
    ))
}

/// Even particles go by the root of the number of dimensions times the size, uphill; odd ones stay.
#[test]
fn every_second_particle_climbs_the_mean_of_the_critics() {
    let size = 0.05;
    let step = size * (DIMS[1] as f64).sqrt();
    for critics in all() {
        for count in [1, 2, 5, 8] {
            let before = values(particles(count));
            let after = climbed(&critics, count, size);
            let slopes = slopes(&critics, count);
            let smooth = slopes.iter().flatten().count();
            assert!(
                4 * smooth > 3 * slopes.len(),
                "{smooth} of {}",
                slopes.len()
            );
            for (row, slope) in slopes.iter().enumerate() {
                let own = row * DIMS[1]..(row + 1) * DIMS[1];
                let (from, to) = (&before[own.clone()], &after[own]);
                let what = format!("{:?}, {count} particles, row {row}", critics.head);
                if (row % count) % 2 == 1 {
                    assert_eq!(from, to, "{what} moved");
                } else if let Some(slope) = slope {
                    let length = slope.iter().map(|g| g * g).sum::<f64>().sqrt();
                    assert!(length > 1e-3, "a flat critic would test nothing: {slope:?}");
                    for ((from, to), g) in from.iter().zip(to).zip(slope) {
                        let (moved, expected) = (to - from, step * g / length);
                        let off = (moved - expected).abs();
                        assert!(off < 0.03 * step, "{what}: {moved}, not {expected}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_long_step_ends_at_the_bounds() {
    for critics in all() {
        let after = climbed(&critics, 4, 50.0);
        let even = after.chunks(DIMS[1]).step_by(2);
        let ends = even.map(|a| a.iter().filter(|x| x.abs() >= 1.0).count());
        assert!(ends.clone().all(|count| count > 0), "{after:?}");
        assert!(after.iter().all(|x| (-1.0..=1.0).contains(x)));
    }
}

#[test]
fn a_step_of_nothing_moves_nothing() {
    for critics in all() {
        assert_eq!(climbed(&critics, 5, 0.0), values(particles(5)));
    }
}
