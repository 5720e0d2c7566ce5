//! Reading whatever there may be, and measuring the memory that it takes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;
use proptest::prelude::*;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Inputs of a test.
pub const CASES: u32 = 10_000;
/// What reading takes whatever the input: buffers, defaults, error messages.
const BASE: usize = 2 << 20;

/// Tests that measure memory must be alone: they hold this from beginning to end.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work` and requires that it allocates no more than ten times `input` bytes.
pub fn in_proportion<T>(input: usize, work: impl FnOnce() -> T) -> T {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = work();
    let bytes = MEMORY.peak_usage().saturating_sub(before);
    assert!(
        bytes <= BASE + 10 * input,
        "{bytes} bytes for an input of {input}"
    );
    result
}

/// A change of some bytes: where (in 65,536ths of the length), how, and with what.
pub type Edit = (u16, u8, Vec<u8>);

/// Changes of a text.
pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let few = proptest::collection::vec(any::<u8>(), 0..6);
    let telling = prop::sample::select(vec![
        "\"",
        "{",
        "}",
        "[",
        "]]]]",
        "\n",
        "=",
        ",",
        "0",
        "-1",
        "1e999",
        "nan",
        "99999999999999999999",
        "\0",
        "\u{feff}",
        "'''",
        "\\u0000",
        "null",
        "18446744073709551616",
        "../",
    ]);
    let with = prop_oneof![few, telling.prop_map(|text| text.as_bytes().to_vec())];
    proptest::collection::vec((any::<u16>(), any::<u8>(), with), 1..5)
}

/// `bytes` with some of them replaced, removed or added, or cut off.
pub fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, how, with) in edits {
        let place = usize::from(*place) * bytes.len() / 65_536;
        let end = (place + with.len().max(1)).min(bytes.len());
        match how % 8 {
            0 => bytes.truncate(place),
            1 => drop(bytes.splice(place..end, std::iter::empty())),
            2..5 => drop(bytes.splice(place..place, with.iter().copied())),
            5 if !bytes.is_empty() => bytes[place] ^= 1 << (how / 8 % 8),
            _ => drop(bytes.splice(place..end, with.iter().copied())),
        }
    }
    bytes
}

/// Of a property test with so many cases.
pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
