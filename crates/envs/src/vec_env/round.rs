//! One round of work divided among threads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rayon::prelude::*;

/// How often a waiting thread looks before it lets others run in between.
const SPINS: u32 = 256;

/// Hands the items of a round to the threads of a pool.
///
/// A round of environment steps takes a few hundred microseconds, an item 20, and a thread that
/// fell asleep wakes up after tens of them. So a thread that finds nothing left waits awake for
/// the end of the round, which is at most one item away, and finds the next round without delay.
/// Each thread takes its own part in order, so that from round to round the same core's cache
/// holds the same items; a thread that is through takes from the far ends of the others' parts.
#[derive(Default)]
pub(super) struct Round {
    parts: Vec<Part>,
    /// Items that are not done yet.
    left: AtomicUsize,
}

impl Round {
    /// Calls `work` once with every item of `0..count`, on the pool in which this is called. A
    /// panic in `work` goes on to the caller when the other items are done.
    pub fn run(&mut self, count: usize, work: impl Fn(usize) + Sync) {
        let threads = rayon::current_num_threads().min(count);
        // Allocates in the first round only.
        self.parts.resize_with(threads, Part::default);
        for (index, part) in self.parts.iter_mut().enumerate() {
            part.fill(index * count / threads, (index + 1) * count / threads);
        }
        *self.left.get_mut() = count;
        let this = &*self;
        (0..threads)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|own| this.take_part(own, &work));
    }

    fn take_part(&self, own: usize, work: &impl Fn(usize)) {
        let work = |item| {
            // Also when `work` panics: the others wait for it.
            let _done = Done(&self.left);
            work(item);
        };
        while let Some(item) = self.parts[own].take_first() {
            work(item);
        }
        for part in self.parts[own + 1..].iter().chain(&self.parts[..own]) {
            while let Some(item) = part.take_last() {
                work(item);
            }
        }
        let mut looks = 0;
        while self.left.load(Ordering::Acquire) > 0 {
            looks += 1;
            if looks < SPINS {
                std::hint::spin_loop();
            } else {
                // There may be fewer cores than threads.
                std::thread::yield_now();
            }
        }
    }
}

/// Counts an item as done when dropped.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// The items of one thread that nobody has taken: a range, its start in the lower half of the
/// word and its end in the upper. On a cache line pair of its own.
#[derive(Default)]
#[repr(align(128))]
struct Part(AtomicU64);

impl Part {
    fn fill(&mut self, start: usize, end: usize) {
        *self.0.get_mut() = pack(start as u64, end as u64);
    }

    fn take_first(&self) -> Option<usize> {
        let taken = self.update(|start, end| pack(start + 1, end))?;
        Some(unpack(taken).0 as usize)
    }

    fn take_last(&self) -> Option<usize> {
        let taken = self.update(|start, end| pack(start, end - 1))?;
        Some(unpack(taken).1 as usize - 1)
    }

    /// The word before the update; None if no item is left. Relaxed: what an item stands for is
    /// guarded by its owner, not by this word.
    fn update(&self, shrink: impl Fn(u64, u64) -> u64) -> Option<u64> {
        let order = Ordering::Relaxed;
        let update = |word| {
            let (start, end) = unpack(word);
            (start < end).then(|| shrink(start, end))
        };
        self.0.fetch_update(order, order, update).ok()
    }
}

fn pack(start: u64, end: u64) -> u64 {
    start | end << 32
}

fn unpack(word: u64) -> (u64, u64) {
    (word & u64::from(u32::MAX), word >> 32)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::{Duration, Instant};

    use super::*;

    fn in_pool<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a pool").install(work)
    }

    #[test]
    fn every_item_is_done_once_by_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            in_pool(threads, || {
                let mut round = Round::default();
                for count in [1, 2, 5, 16, 33, 3] {
                    let done: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                    round.run(count, |item| {
                        done[item].fetch_add(1, Ordering::Relaxed);
                    });
                    let done: Vec<_> = done.into_iter().map(AtomicUsize::into_inner).collect();
                    assert_eq!(done, vec![1; count], "{threads} threads");
                }
            });
        }
    }

    #[test]
    fn a_thread_that_is_through_helps_the_others() {
        in_pool(2, || {
            // The first item lasts until all others are done, whoever took it.
            let left = AtomicUsize::new(15);
            let begun = Instant::now();
            Round::default().run(16, |item| {
                if item == 0 {
                    while left.load(Ordering::Relaxed) > 0 {
                        let waited = begun.elapsed();
                        assert!(waited < Duration::from_mins(1), "nobody helps");
                        std::thread::sleep(Duration::from_micros(50));
                    }
                } else {
                    left.fetch_sub(1, Ordering::Relaxed);
                }
            });
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_after_the_other_items() {
        for threads in [1, 2, 4] {
            in_pool(threads, || {
                let mut round = Round::default();
                let done = AtomicUsize::new(0);
                let result = catch_unwind(AssertUnwindSafe(|| {
                    round.run(8, |item| {
                        assert_ne!(item, 3, "as intended");
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                }));
                assert!(result.is_err());
                // One thread alone stops where it panics.
                assert_eq!(done.into_inner(), if threads == 1 { 3 } else { 7 });
                round.run(8, |_| ());
            });
        }
    }
}
