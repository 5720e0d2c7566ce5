//! The chain allocates its result and nothing that grows with its length.
#![cfg(feature = "flex")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use burn::{
    backend::Flex,
    tensor::{Tensor, TensorData},
};
use rescore_kernels::{
    Activation, ChainNetwork, ChainNoise, Layer, NoiseKey, Precision, RescoreBackend,
    StepCoefficients,
};

/// The system's allocator, counting.
struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system allocator's; the counters are atomic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn normals<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<Flex, D> {
    let count: usize = shape.iter().product();
    let mut values = vec![0.0; count];
    NoiseKey::new(0, name).fill_normals(&mut values, count, 0, 0, 0);
    for value in &mut values {
        *value *= 0.1;
    }
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// Calls and bytes that one chain of `length` steps allocates once everything has its size.
fn allocated(length: usize, precision: Precision) -> (u64, u64) {
    let (states, particles, hidden) = (40, 8, 64);
    let network = ChainNetwork {
        observation_weight: normals("observation", [17, hidden]),
        action_weight: normals("action", [6, hidden]),
        step_bias: normals("steps", [length, hidden]),
        rest: [[hidden, hidden], [hidden, 6]]
            .map(|[depth, columns]| Layer {
                weight: normals("weight", [1, depth, columns]),
                bias: normals("bias", [1, 1, columns]),
            })
            .to_vec(),
        activation: Activation::Mish,
        precision,
    };
    let steps = vec![
        StepCoefficients {
            sqrt_recip_alpha_bar: 1.1,
            sqrt_recip_alpha_bar_minus_one: 0.3,
            posterior_x0: 0.5,
            posterior_xt: 0.5,
            sigma: 0.1,
        };
        length
    ];
    let noise = ChainNoise::Counter {
        key: NoiseKey::new(1, "chain"),
        counter: 0,
        start_scale: 0.5,
    };
    let observations = normals("observations", [states, 17]);
    let run = || Flex::denoise_chain(&network, observations.clone(), particles, &steps, &noise);
    // Which worker gets which tile is not fixed, so each needs several calls to have its memory.
    for _ in 0..50 {
        run();
    }
    // The thread pool allocates now and then; the fewest of several calls are those of the chain.
    (0..20)
        .map(|_| {
            let before = (CALLS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
            run();
            let after = (CALLS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
            (after.0 - before.0, after.1 - before.1)
        })
        .min()
        .unwrap_or_default()
}

#[test]
fn a_chain_allocates_its_result_and_a_little() {
    let result = 40 * 8 * 6 * 4;
    for precision in [Precision::F32, Precision::Bf16] {
        let (short, long) = (allocated(5, precision), allocated(50, precision));
        assert_eq!(short.0, long.0, "{precision:?}: calls grow with the steps");
        assert!(
            long.1 < result + 8192,
            "{precision:?}: {} bytes for a result of {result}",
            long.1
        );
    }
}
