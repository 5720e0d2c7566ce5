//! The denoising chain, fused.
//!
//! A tile of rows goes through all layers and all denoising steps before the next tile begins, so
//! that its activations (64 rows x 256 columns x 4 bytes = 64 KiB, twice) stay in the second-level
//! cache and nothing but the result is written to memory. Weights are packed once a call. The
//! observation's part of layer 1 is computed once a state, its time part comes with the network.
//! Scoring is a pass of its own ([`super::score`]): in this one, the critics' weights would drive
//! the network's out of the cache after every tile, which was measured to cost as much again as
//! the scoring itself.
//!
//! Rows are independent, and every row is computed in the same order of operations wherever it
//! lies, so the result depends neither on the tile size nor on the number of threads.

use rayon::prelude::*;

use super::{
    InstructionSet,
    buffer::Buffer,
    compiled::compiled,
    network::{LayerView, PackedNetwork, observation_part},
    precision::{Format, Precision, RoundedHalf, Single},
    product::{Rows, Start},
    simd::Lanes,
};
#[cfg(target_arch = "x86_64")]
use super::{precision::Half, simd::Avx512};
use crate::{NoiseKey, Precision as SamplingPrecision, StepCoefficients};

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
    /// `[observation_dim, hidden]`, no bias.
    pub(crate) observation_weight: LayerView<'a>,
    /// `[action_dim, hidden]`; its bias is `[steps, hidden]`.
    pub(crate) action_weight: LayerView<'a>,
    /// Layers 2 to the output; at least the output.
    pub(crate) rest: Vec<LayerView<'a>>,
    pub(crate) steps: &'a [StepCoefficients],
    pub(crate) noise: NoiseView<'a>,
    pub(crate) precision: SamplingPrecision,
}

/// The chain with its weights packed.
struct Job<'a, V> {
    view: &'a ChainView<'a>,
    network: PackedNetwork<V>,
    /// The observation's part of layer 1, `[states, padded hidden]`.
    per_state: Buffer<f32>,
    /// Bias and time part of layer 1, `[steps, padded hidden]`.
    step_bias: Buffer<f32>,
}

/// Samples actions, `[states, particles, action_dim]`.
pub(crate) fn denoise(view: &ChainView<'_>, set: InstructionSet) -> Vec<f32> {
    match (view.precision, set) {
        (SamplingPrecision::F32, _) => run::<Single>(view, set, tile_single),
        #[cfg(target_arch = "x86_64")]
        (SamplingPrecision::Bf16, InstructionSet::Avx512Bf16) => run::<Half>(view, set, tile_half),
        (SamplingPrecision::Bf16, _) => run::<RoundedHalf>(view, set, tile_rounded),
    }
}

/// Packs the weights and hands out tiles that are filled up to whole blocks of rows.
fn run<F: Format>(
    view: &ChainView<'_>,
    set: InstructionSet,
    tile: impl Fn(InstructionSet, &Job<'_, F::Value>, usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let [action_dim, hidden] = view.action_weight.dims;
    let rows = view.states * view.particles;
    let mut actions = vec![0.0; rows * action_dim];
    if actions.is_empty() {
        return actions;
    }
    let network = PackedNetwork::new::<F>(set, view.action_weight.matrix(), &view.rest);
    let padded = network.first_padded();
    let mut step_bias = Buffer::new(view.steps.len() * padded);
    let biases = view.action_weight.bias.chunks_exact(hidden);
    for (to, bias) in step_bias.chunks_exact_mut(padded).zip(biases) {
        to[..hidden].copy_from_slice(bias);
        to[hidden..].fill(0.0);
    }
    let observation_weight = view.observation_weight.matrix();
    let job = Job {
        view,
        network,
        per_state: observation_part(set, view.observations, view.states, observation_weight),
        step_bias,
    };
    let tile_rows = set.tile_rows(rows);
    actions
        .par_chunks_mut(tile_rows * action_dim)
        .enumerate()
        .for_each(|(index, actions)| tile(set, &job, index * tile_rows, actions));
    actions
}

compiled! {
    /// Runs the chain for the rows `first_row..` that `actions` has room for.
    fn tile_single(job: &Job<'_, f32>, first_row: usize, actions: &mut [f32]) = tile::<Single>;

    /// As [`tile_single`], with values rounded to bf16.
    fn tile_rounded(
        job: &Job<'_, f32>, first_row: usize, actions: &mut [f32],
    ) = tile::<RoundedHalf>;
}

/// As [`tile_single`], in bf16.
#[cfg(target_arch = "x86_64")]
fn tile_half(set: InstructionSet, job: &Job<'_, u16>, first_row: usize, actions: &mut [f32]) {
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma")]
    fn avx512(job: &Job<'_, u16>, first_row: usize, actions: &mut [f32]) {
        // SAFETY: the attribute enables what the vector type and the precision need.
        unsafe { tile::<Avx512, Half, 8>(job, first_row, actions) }
    }
    assert!(set == InstructionSet::Avx512Bf16 && set.is_available());
    // SAFETY: the set is available.
    unsafe { avx512(job, first_row, actions) }
}

/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn tile<L: Lanes, P: Precision<L>, const ROWS: usize>(
    job: &Job<'_, P::Value>,
    first_row: usize,
    actions: &mut [f32],
) {
    let view = job.view;
    let action_dim = view.action_weight.dims[0];
    let rows = actions.len() / action_dim;
    let block_rows = rows.next_multiple_of(ROWS);
    let padded = job.network.first_padded();
    let widest = job.network.widest();

    // A state for every row of the tile, those that fill it up included.
    let mut state_of = Buffer::<u32>::new(block_rows);
    for (row, state) in state_of.iter_mut().enumerate() {
        *state = ((first_row + row) / view.particles).min(view.states - 1) as u32;
    }
    let mut x = Buffer::new(block_rows * action_dim);
    x[rows * action_dim..].fill(0.0);
    let mut noise = Buffer::<f32>::new(rows * action_dim);
    let mut front = Buffer::new(block_rows * widest);
    let mut back = Buffer::new(block_rows * widest);
    let prediction_width = job.network.output_padded();
    let mut noise_pred = Buffer::<f32>::new(block_rows * prediction_width);

    start(view, first_row, &mut x[..rows * action_dim]);
    for (t, c) in view.steps.iter().enumerate().rev() {
        let first = Start::PerState {
            per_state: &job.per_state,
            state_of: &state_of,
            bias: &job.step_bias[t * padded..][..padded],
        };
        let input = Rows {
            values: &x,
            stride: action_dim,
        };
        let work = [&mut front, &mut back];
        // SAFETY: the caller's promise.
        unsafe {
            job.network
                .forward::<L, P, ROWS>(&input, block_rows, &first, work, &mut noise_pred);
        }
        if t > 0 {
            draw(view, first_row, t, &mut noise);
        }
        let predictions = noise_pred.chunks_exact(prediction_width);
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

    fn run_on(example: &Example, set: InstructionSet, precision: SamplingPrecision) -> Vec<f32> {
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
            precision,
        };
        denoise(&view, set)
    }

    const F32: SamplingPrecision = SamplingPrecision::F32;
    const BF16: SamplingPrecision = SamplingPrecision::Bf16;

    /// The sets differ in fused or separate multiplication and addition and in the rounding of a
    /// reciprocal, about 1e-7 a layer, but not in the order of operations.
    #[test]
    fn all_instruction_sets_agree() {
        let example = example();
        let expected = run_on(&example, InstructionSet::Portable, F32);
        assert!(expected.iter().any(|x| x.abs() > 0.1));
        for set in InstructionSet::available() {
            for (a, b) in run_on(&example, set, F32).iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5, "{set:?}: {a} {b}");
            }
        }
    }

    /// In bf16 a difference in the last bit of a sum can turn a rounding, which is 2^-9 of a value,
    /// so the sets differ by more than in `f32`; but by less than each does from `f32`, and two
    /// roundings that had nothing to do with each other would differ by more.
    #[test]
    fn all_instruction_sets_round_to_bf16_alike() {
        let example = example();
        let exact = run_on(&example, InstructionSet::Portable, F32);
        let expected = run_on(&example, InstructionSet::Portable, BF16);
        let distance = |a: &[f32], b: &[f32]| {
            let sum: f32 = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum();
            sum / a.len() as f32
        };
        let rounding = distance(&expected, &exact);
        assert!((1e-4..1e-2).contains(&rounding), "{rounding}");
        for set in InstructionSet::available() {
            let apart = distance(&run_on(&example, set, BF16), &expected);
            assert!(apart < 0.6 * rounding, "{set:?}: {apart} of {rounding}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() -> Result<(), rayon::ThreadPoolBuildError> {
        let example = example();
        for set in InstructionSet::available() {
            for precision in [F32, BF16] {
                let expected = run_on(&example, set, precision);
                for threads in [1, 2, 4] {
                    let pool = rayon::ThreadPoolBuilder::new()
                        .num_threads(threads)
                        .build()?;
                    let actual = pool.install(|| run_on(&example, set, precision));
                    assert_eq!(actual, expected, "{set:?} {precision:?}");
                }
            }
        }
        Ok(())
    }

    /// NaN and infinity spoil their own state and no other.
    #[test]
    fn a_bad_observation_spoils_only_its_own_rows() {
        for (precision, value) in [(F32, f32::NAN), (BF16, f32::NAN), (F32, f32::NEG_INFINITY)] {
            for set in InstructionSet::available() {
                let mut example = example();
                let good = run_on(&example, set, precision);
                example.observations[4 * 7] = value;
                let bad = run_on(&example, set, precision);
                let state = PARTICLES * ACTION_DIM;
                for (row, (a, b)) in good.chunks(state).zip(bad.chunks(state)).enumerate() {
                    if row == 4 {
                        assert!(
                            b.iter().all(|x| x.is_nan()),
                            "{set:?} {precision:?} {value}"
                        );
                    } else {
                        assert_eq!(a, b, "{set:?} {precision:?} {value}");
                    }
                }
            }
        }
    }
}
