//! A buffer comes back from its files as it was, wherever it was saved and interrupted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;

use proptest::prelude::*;

use super::*;

const DIMS: (usize, usize) = (2, 1);

/// A ring of records.
#[derive(Debug)]
struct Ring {
    capacity: usize,
    stored: u64,
    held: VecDeque<Vec<f32>>,
}

impl Ring {
    /// An empty one, as if `stored` records had been stored and overwritten.
    fn beginning_at(stored: u64, capacity: usize) -> Self {
        Self {
            capacity,
            stored,
            held: VecDeque::new(),
        }
    }

    fn push(&mut self, values: &[f32]) {
        if self.held.len() == self.capacity {
            self.held.pop_front();
        }
        self.held.push_back(values.to_vec());
        self.stored += 1;
    }
}

impl Records for Ring {
    fn stored(&self) -> u64 {
        self.stored
    }

    fn held(&self) -> u64 {
        self.held.len() as u64
    }

    fn capacity(&self) -> u64 {
        self.capacity as u64
    }

    fn values(&self, number: u64) -> impl Iterator<Item = f32> {
        let place = number - (self.stored - self.held());
        self.held[place as usize].iter().copied()
    }
}

/// Stores transitions `numbers`, whose entries all follow from their numbers.
fn store(replay: &mut Ring, segments: &mut Segments, numbers: Range<u64>) {
    for number in numbers {
        let x = number as f32;
        let terminated = if number.is_multiple_of(3) { 1.0 } else { 0.0 };
        segments.follow(replay).expect("writable");
        replay.push(&[x, x + 0.25, -x, 2.0 * x, x + 1.0, x + 1.25, terminated]);
    }
}

fn fresh(folder: &Path, capacity: usize) -> (Segments, Ring) {
    let layout = Layout::new(capacity, DIMS.0, DIMS.1);
    let segments = Segments::create(folder.join("replay"), layout).expect("writable");
    (segments, Ring::beginning_at(0, capacity))
}

fn load(
    folder: &Path,
    capacity: usize,
    reference: &ReplayReference,
) -> Result<(Segments, Ring), StoreError> {
    let layout = Layout::new(capacity, DIMS.0, DIMS.1);
    let mut ring = Ring::beginning_at(reference.stored.saturating_sub(reference.held), capacity);
    let push = |values: &[f32]| ring.push(values);
    let segments = Segments::load(&folder.join("replay"), layout, capacity, reference, push)?;
    Ok((segments, ring))
}

/// Removes what none of `references` needs.
fn keep(segments: &mut Segments, references: &[&ReplayReference]) -> Result<(), StoreError> {
    let needed = references.iter().map(|r| r.stored - r.held..r.stored);
    segments.keep(&needed.collect::<Vec<_>>())
}

fn held(replay: &Ring) -> Vec<Vec<f32>> {
    replay.held.iter().cloned().collect()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder.join("replay"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("readable"))
        })
        .collect()
}

proptest! {
    /// Stores and saves at random places; is killed somewhere after one of them and goes on from
    /// it; and has the same buffer and the same files at the end as a run that was not killed.
    #[test]
    fn an_interrupted_buffer_is_the_same_buffer(
        capacity in 1usize..60,
        saves in proptest::collection::vec(0u64..40, 1..6),
        lost in 0u64..70,
        rest in 0u64..70,
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mut segments, mut replay) = fresh(folder.path(), capacity);
        let mut reference = ReplayReference::default();
        for more in saves {
            let stored = replay.stored();
            store(&mut replay, &mut segments, stored..stored + more);
            reference = segments.save(&replay).expect("writable");
            keep(&mut segments, &[&reference]).expect("writable");
        }
        let expected = held(&replay);
        let stored = replay.stored();
        store(&mut replay, &mut segments, stored..stored + lost);
        segments.append(&replay).expect("writable"); // Never referred to.
        drop((segments, replay));

        let (mut segments, mut replay) = load(folder.path(), capacity, &reference).expect("whole");
        segments.cut().expect("writable");
        prop_assert_eq!(&held(&replay), &expected);
        store(&mut replay, &mut segments, stored..stored + rest);
        let last = segments.save(&replay).expect("writable");
        keep(&mut segments, &[&last]).expect("writable");

        let other = tempfile::tempdir().expect("a temporary folder");
        let (mut whole, mut buffer) = fresh(other.path(), capacity);
        store(&mut buffer, &mut whole, 0..stored + rest);
        prop_assert_eq!(&whole.save(&buffer).expect("writable"), &last);
        keep(&mut whole, &[&last]).expect("writable");
        prop_assert_eq!(held(&buffer), held(&replay));
        prop_assert!(files(other.path()) == files(folder.path()), "files differ");
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut segments, mut replay) = fresh(folder.path(), 80);
    store(&mut replay, &mut segments, 0..25);
    let reference = segments.save(&replay).expect("writable");
    assert_eq!(reference.segments.len(), 3);
    for segment in &reference.segments {
        let path = folder.path().join("replay").join(&segment.file);
        let whole = fs::read(&path).expect("just written");
        let refused = |bytes: &[u8], how: String| {
            fs::write(&path, bytes).expect("writable");
            let error = load(folder.path(), 80, &reference).expect_err(&how);
            let text = error.to_string();
            assert!(text.contains(&segment.file), "{how}: {text}");
            assert!(text.contains(&segment.sha256), "{how}: {text}");
        };
        for length in 0..whole.len() {
            refused(&whole[..length], format!("cut at {length}"));
        }
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused(&flipped, format!("bit {bit} flipped"));
        }
        fs::write(&path, &whole).expect("writable");
    }
    load(folder.path(), 80, &reference).expect("whole again");
}

/// An old checkpoint that is kept because it is the best keeps its own segments and no others.
#[test]
fn segments_between_two_checkpoints_are_not_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut segments, mut replay) = fresh(folder.path(), 16);
    store(&mut replay, &mut segments, 0..21);
    let best = segments.save(&replay).expect("writable");
    let mut last = best.clone();
    for begin in (21..300).step_by(7) {
        store(&mut replay, &mut segments, begin..begin + 7);
        last = segments.save(&replay).expect("writable");
        keep(&mut segments, &[&best, &last]).expect("writable");
        let needed = best.segments.iter().chain(&last.segments);
        let needed: BTreeSet<String> = needed.map(|segment| segment.file.clone()).collect();
        let there: BTreeSet<String> = files(folder.path()).into_keys().collect();
        assert_eq!(there, needed, "after {begin}");
        assert!(segments.complete.len() <= needed.len());
    }
    let at_last = held(&replay);
    for reference in [&best, &last] {
        let (_, replay) = load(folder.path(), 16, reference).expect("whole");
        assert_eq!(replay.stored(), reference.stored);
    }
    let (_, replay) = load(folder.path(), 16, &last).expect("whole");
    assert_eq!(held(&replay), at_last);
}

#[test]
fn references_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut segments, mut replay) = fresh(folder.path(), 16);
    store(&mut replay, &mut segments, 0..20);
    let good = segments.save(&replay).expect("writable");
    let refused = |change: fn(&mut ReplayReference)| {
        let mut bad = good.clone();
        change(&mut bad);
        load(folder.path(), 16, &bad).expect_err("refused")
    };
    refused(|bad| bad.held = 17);
    refused(|bad| bad.stored = u64::MAX);
    refused(|bad| (bad.stored, bad.held) = (u64::MAX, 16));
    refused(|bad| bad.segments.clear());
    refused(|bad| bad.segments.reverse());
    refused(|bad| bad.segments[0].rows = u64::MAX);
    refused(|bad| bad.segments[0].file = "../seg-00000002.bin".into());
    refused(|bad| bad.segments[0].sha256.clear());
    load(folder.path(), 16, &good).expect("whole");
    let error = load(folder.path(), 17, &good).expect_err("another capacity");
    assert!(error.to_string().contains("buffer of 17"), "{error}");
}
