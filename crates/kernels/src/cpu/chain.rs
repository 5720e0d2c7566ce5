//! The denoising chain, fused.
//!
//! A tile of rows goes through all layers and all denoising steps before the next tile begins, so
//! that its activations (64 rows x 256 columns x 4 bytes = 64 KiB, twice) stay in the second-level
//! cache and nothing but the result is written to memory. Weights are packed once a call. The
//! observation's part of layer 1 is computed once a state, its time part comes with the network.
//! Rows are independent, and every row is computed in the same order of operations wherever it
//! lies, so the result depends neither on the tile size nor on the number of threads.

use std::cell::RefCell;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::{
    InstructionSet,
    product::{Packed, Start, padded, product},
    simd::{Lanes, Portable},
};
use crate::{NoiseKey, StepCoefficients};

/// Rows of a tile at most.
const TILE_ROWS: usize = 64;

/// A layer's weights `[depth, columns]` and bias `[columns]`.
pub(crate) struct LayerView<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) dims: [usize; 2],
}

/// The random numbers of a chain.
pub(crate) enum NoiseView<'a> {
    /// Drawn in the kernel.
    Counter {
        key: NoiseKey,
        counter: u32,
        start_scale: f32,
    },
    /// Drawn in the kernel, one counter a state, row = particle.
    CounterPerState {
        key: NoiseKey,
        counters: &'a [u32],
        start_scale: f32,
    },
    /// `start` `[states, particles, action_dim]`, `steps` `[visited, states, particles,
    /// action_dim]`.
    Given { start: &'a [f32], steps: &'a [f32] },
}

/// All that the chain needs, as slices.
pub(crate) struct ChainView<'a> {
    /// `[states, observation_dim]`.
    pub(crate) observations: &'a [f32],
    pub(crate) states: usize,
    pub(crate) particles: usize,
    /// `[observation_dim, hidden]`.
    pub(crate) observation_weight: LayerView<'a>,
    /// `[action_dim, hidden]`; its bias is `[steps, hidden]`.
    pub(crate) action_weight: LayerView<'a>,
    /// Layers 2 to the output; at least the output.
    pub(crate) rest: Vec<LayerView<'a>>,
    pub(crate) steps: &'a [StepCoefficients],
    pub(crate) noise: NoiseView<'a>,
}

/// The chain with its weights packed for one instruction set.
struct Job<'a> {
    view: &'a ChainView<'a>,
    /// The observation's part of layer 1, `[states, padded hidden]`.
    per_state: Vec<f32>,
    action_weight: Packed,
    /// Bias and time part of layer 1, one for each step.
    step_bias: Vec<Vec<f32>>,
    hidden: Vec<(Packed, Vec<f32>)>,
    output: (Packed, Vec<f32>),
}

/// Registers that a panel of the hidden layers is wide; the output layer, often narrow, has one.
const VECTORS: usize = 2;

/// Actions `[states, particles, action_dim]`.
pub(crate) fn denoise(view: &ChainView<'_>, set: InstructionSet) -> Vec<f32> {
    assert!(set.is_available(), "this processor has no {}", set.name());
    match set {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => run(view, 16, 8, |job, row, actions| {
            // SAFETY: the processor has what the function is compiled for, see above.
            unsafe { tile_avx512(job, row, actions) }
        }),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => run(view, 8, 6, |job, row, actions| {
            // SAFETY: the processor has what the function is compiled for, see above.
            unsafe { tile_avx2(job, row, actions) }
        }),
        InstructionSet::Portable => run(view, 8, 4, |job, row, actions| {
            // SAFETY: nothing is needed.
            unsafe { tile_portable(job, row, actions) }
        }),
    }
}

/// Packs the weights for registers of `lanes` values and hands out tiles that are filled up to a
/// multiple of `block` rows.
fn run(
    view: &ChainView<'_>,
    lanes: usize,
    block: usize,
    tile: impl Fn(&Job<'_>, usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let [action_dim, hidden] = view.action_weight.dims;
    let rows = view.states * view.particles;
    let mut actions = vec![0.0; rows * action_dim];
    if actions.is_empty() {
        return actions;
    }
    let width = VECTORS * lanes;
    let action_weight = Packed::new(view.action_weight.weight, view.action_weight.dims, width);
    let stride = action_weight.padded();
    let Some((output, between)) = view.rest.split_last() else {
        panic!("a denoiser needs a hidden layer: its first layer cannot be its output");
    };
    let packed = |layer: &LayerView<'_>, width| {
        let weights = Packed::new(layer.weight, layer.dims, width);
        let bias = padded(layer.bias, weights.padded());
        (weights, bias)
    };
    let job = Job {
        view,
        per_state: observation_part(view, stride),
        step_bias: view
            .action_weight
            .bias
            .chunks_exact(hidden)
            .map(|bias| padded(bias, stride))
            .collect(),
        action_weight,
        hidden: between.iter().map(|layer| packed(layer, width)).collect(),
        output: packed(output, lanes),
    };
    // Small batches are cut finer, so that all cores get something.
    let tile_rows = rows
        .div_ceil(4)
        .next_multiple_of(block)
        .min(TILE_ROWS / block * block);
    actions
        .par_chunks_mut(tile_rows * action_dim)
        .enumerate()
        .for_each(|(index, chunk)| tile(&job, index * tile_rows, chunk));
    actions
}

/// `observations * weight`, `[states, stride]`. One of many layers and computed once a state, so
/// plain loops are enough.
fn observation_part(view: &ChainView<'_>, stride: usize) -> Vec<f32> {
    let [depth, hidden] = view.observation_weight.dims;
    let mut result = vec![0.0; view.states * stride];
    result
        .par_chunks_mut(stride)
        .zip(view.observations.par_chunks(depth.max(1)))
        .for_each(|(sums, observation)| {
            let rows = view.observation_weight.weight.chunks_exact(hidden);
            for (x, weights) in observation.iter().zip(rows) {
                for (sum, w) in sums.iter_mut().zip(weights) {
                    *sum += x * w;
                }
            }
        });
    result
}

thread_local! {
    /// Activations of one tile, kept from call to call.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    state_of: Vec<usize>,
    x: Vec<f32>,
    noise: Vec<f32>,
    front: Vec<f32>,
    back: Vec<f32>,
    noise_pred: Vec<f32>,
}

/// Runs the chain for the rows `first_row..` that `actions` has room for.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn tile<L: Lanes, const ROWS: usize>(
    job: &Job<'_>,
    first_row: usize,
    actions: &mut [f32],
    scratch: &mut Scratch,
) {
    let view = job.view;
    let action_dim = view.action_weight.dims[0];
    let rows = actions.len() / action_dim;
    let block_rows = rows.next_multiple_of(ROWS);
    let stride = job.action_weight.padded();
    let widest = job
        .hidden
        .iter()
        .map(|(weights, _)| weights.padded())
        .fold(stride, usize::max);
    let last_state = view.states - 1;
    let Scratch {
        state_of,
        x,
        noise,
        front,
        back,
        noise_pred,
    } = scratch;
    state_of.clear();
    state_of.extend((0..block_rows).map(|r| ((first_row + r) / view.particles).min(last_state)));
    x.clear();
    x.resize(block_rows * action_dim, 0.0);
    noise.resize(rows * action_dim, 0.0);
    front.resize(block_rows * widest, 0.0);
    back.resize(block_rows * widest, 0.0);
    noise_pred.resize(block_rows * job.output.0.padded(), 0.0);

    start(view, first_row, &mut x[..rows * action_dim]);
    for (t, c) in view.steps.iter().enumerate().rev() {
        // SAFETY: the caller's promise.
        unsafe {
            let first = Start::PerState {
                per_state: &job.per_state,
                state_of,
                bias: &job.step_bias[t],
            };
            product::<L, ROWS, VECTORS, true>(
                x,
                action_dim,
                block_rows,
                &job.action_weight,
                &first,
                front,
            );
            let mut front_stride = stride;
            for (weights, bias) in &job.hidden {
                product::<L, ROWS, VECTORS, true>(
                    front,
                    front_stride,
                    block_rows,
                    weights,
                    &Start::Bias(bias),
                    back,
                );
                std::mem::swap(front, back);
                front_stride = weights.padded();
            }
            let (weights, bias) = &job.output;
            product::<L, ROWS, 1, false>(
                front,
                front_stride,
                block_rows,
                weights,
                &Start::Bias(bias),
                noise_pred,
            );
        }
        if t > 0 {
            draw(view, first_row, t, noise);
        }
        let predictions = noise_pred.chunks_exact(job.output.0.padded());
        let rows = x.chunks_exact_mut(action_dim).zip(predictions);
        for ((row, prediction), z) in rows.zip(noise.chunks_exact(action_dim)) {
            for ((x, e), z) in row.iter_mut().zip(prediction).zip(z) {
                let x0 = *x * c.sqrt_recip_alpha_bar - e * c.sqrt_recip_alpha_bar_minus_one;
                *x = x0.clamp(-1.0, 1.0) * c.posterior_x0 + *x * c.posterior_xt;
                if t > 0 {
                    *x += z * c.sigma;
                }
            }
        }
    }
    actions.copy_from_slice(&x[..rows * action_dim]);
}

/// `x_T` of the rows from `first_row` on.
fn start(view: &ChainView<'_>, first_row: usize, x: &mut [f32]) {
    let action_dim = view.action_weight.dims[0];
    match view.noise {
        NoiseView::Given { start, .. } => {
            x.copy_from_slice(&start[first_row * action_dim..][..x.len()]);
        }
        NoiseView::Counter { start_scale, .. } | NoiseView::CounterPerState { start_scale, .. } => {
            draw(view, first_row, view.steps.len(), x);
            for value in x {
                *value *= start_scale;
            }
        }
    }
}

/// Unit normals of denoising step `step` for the rows from `first_row` on.
fn draw(view: &ChainView<'_>, first_row: usize, step: usize, noise: &mut [f32]) {
    let action_dim = view.action_weight.dims[0];
    match view.noise {
        NoiseView::Counter { key, counter, .. } => {
            key.fill_normals(noise, action_dim, first_row as u32, step as u32, counter);
        }
        NoiseView::CounterPerState { key, counters, .. } => {
            for (row, values) in (first_row..).zip(noise.chunks_exact_mut(action_dim)) {
                let (state, particle) = (row / view.particles, row % view.particles);
                let counter = counters[state];
                key.fill_normals(values, action_dim, particle as u32, step as u32, counter);
            }
        }
        NoiseView::Given { steps, .. } => {
            let visited = view.steps.len() - 1 - step;
            let all = view.states * view.particles * action_dim;
            let from = visited * all + first_row * action_dim;
            noise.copy_from_slice(&steps[from..][..noise.len()]);
        }
    }
}

/// Defines a function that runs [`tile`] with the features of one instruction set.
macro_rules! tile_for {
    ($(#[$attribute:meta])* $name:ident, $lanes:ty, $rows:literal) => {
        $(#[$attribute])*
        unsafe fn $name(job: &Job<'_>, first_row: usize, actions: &mut [f32]) {
            SCRATCH.with_borrow_mut(|scratch| {
                // SAFETY: the attribute enables what the vector type needs.
                unsafe { tile::<$lanes, $rows>(job, first_row, actions, scratch) }
            });
        }
    };
}

tile_for! {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
    tile_avx512, Avx512, 8
}
tile_for! {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    tile_avx2, Avx2, 6
}
tile_for! {
    tile_portable, Portable, 4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain with made-up weights; nothing is a multiple of a register or a tile.
    struct Example {
        observations: Vec<f32>,
        weights: Vec<Vec<f32>>,
        dims: Vec<[usize; 2]>,
        biases: Vec<Vec<f32>>,
    }

    const STATES: usize = 23;
    const PARTICLES: usize = 3;
    const ACTION_DIM: usize = 5;

    fn example() -> Example {
        let key = NoiseKey::new(5, "weights");
        let draw = |count: usize, row: u32, scale: f32| {
            let mut values = vec![0.0; count];
            key.fill_normals(&mut values, count.max(1), row, 0, 0);
            values
                .iter()
                .map(|value| value * scale)
                .collect::<Vec<f32>>()
        };
        let dims = vec![[7, 37], [ACTION_DIM, 37], [37, 19], [19, ACTION_DIM]];
        Example {
            observations: draw(STATES * 7, 0, 1.0),
            weights: (1..)
                .zip(&dims)
                .map(|(i, [k, n])| draw(k * n, i, 0.3))
                .collect(),
            biases: (9..)
                .zip([0, STEPS * 37, 19, ACTION_DIM])
                .map(|(i, n)| draw(n, i, 0.3))
                .collect(),
            dims,
        }
    }

    const STEPS: usize = 6;

    fn run_on(example: &Example, set: InstructionSet) -> Vec<f32> {
        let layer = |i: usize| LayerView {
            weight: &example.weights[i],
            bias: &example.biases[i],
            dims: example.dims[i],
        };
        let steps: Vec<StepCoefficients> = (0..STEPS)
            .map(|t| StepCoefficients {
                sqrt_recip_alpha_bar: 1.0 + 0.1 * t as f32,
                sqrt_recip_alpha_bar_minus_one: 0.1 + 0.2 * t as f32,
                posterior_x0: 0.6,
                posterior_xt: 0.4,
                sigma: 0.2,
            })
            .collect();
        let view = ChainView {
            observations: &example.observations,
            states: STATES,
            particles: PARTICLES,
            observation_weight: layer(0),
            action_weight: layer(1),
            rest: vec![layer(2), layer(3)],
            steps: &steps,
            noise: NoiseView::Counter {
                key: NoiseKey::new(1, "noise"),
                counter: 3,
                start_scale: 0.5,
            },
        };
        denoise(&view, set)
    }

    /// The sets differ in fused or separate multiplication and addition and in the rounding of a
    /// reciprocal, about 1e-7 a layer, but not in the order of operations.
    #[test]
    fn all_instruction_sets_agree() {
        let example = example();
        let expected = run_on(&example, InstructionSet::Portable);
        assert!(expected.iter().any(|x| x.abs() > 0.1));
        for set in InstructionSet::available() {
            for (a, b) in run_on(&example, set).iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5, "{set:?}: {a} {b}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() -> Result<(), rayon::ThreadPoolBuildError> {
        let example = example();
        for set in InstructionSet::available() {
            let expected = run_on(&example, set);
            for threads in [1, 2, 4] {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()?;
                assert_eq!(pool.install(|| run_on(&example, set)), expected, "{set:?}");
            }
        }
        Ok(())
    }

    /// NaN spoils its own state and no other.
    #[test]
    fn a_bad_observation_spoils_only_its_own_rows() {
        let mut example = example();
        let good = run_on(&example, InstructionSet::detect());
        example.observations[4 * 7] = f32::NAN;
        let bad = run_on(&example, InstructionSet::detect());
        let state = PARTICLES * ACTION_DIM;
        for (row, (a, b)) in good.chunks(state).zip(bad.chunks(state)).enumerate() {
            if row == 4 {
                assert!(b.iter().all(|x| x.is_nan()));
            } else {
                assert_eq!(a, b);
            }
        }
    }
}
