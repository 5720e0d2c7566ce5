//! Aligned memory that is used again, so that a kernel called over and over allocates nothing.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A cache line, and the widest register: a load of one that starts at its beginning touches no
/// second line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

const LINE: usize = 64;

/// Numbers of which every pattern of bits is a value.
///
/// # Safety
/// That must be so, and the alignment must divide that of a line.
pub(super) unsafe trait Plain: Copy + Default + Send + Sync + 'static {}

// SAFETY: all patterns of bits are values of these; alignments 4 and 2.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}

thread_local! {
    /// Memory that this thread has given up, to be used again.
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// `len` values, the first at the beginning of a cache line. What they are at first is not
/// specified. The memory comes from earlier buffers of the thread where one was large enough, and
/// goes back to them.
pub(super) struct Buffer<T> {
    lines: Vec<Line>,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    pub(super) fn new(len: usize) -> Self {
        let count = (len * size_of::<T>()).div_ceil(LINE);
        let mut lines = FREE.with_borrow_mut(|free| {
            // The smallest that is large enough, so that large ones stay for those who need them.
            let fitting = (0..free.len())
                .filter(|i| free[*i].len() >= count)
                .min_by_key(|i| free[*i].len());
            fitting.map_or_else(Vec::new, |i| free.swap_remove(i))
        });
        if lines.len() < count {
            lines.resize(count, Line([0; LINE]));
        }
        Self {
            lines,
            len,
            values: PhantomData,
        }
    }

    /// `values`, followed by zeros up to `len`.
    pub(super) fn padded(values: &[T], len: usize) -> Self {
        let mut buffer = Self::new(len);
        buffer[..values.len()].copy_from_slice(values);
        buffer[values.len()..].fill(T::default());
        buffer
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        // While a thread ends its list may be gone already; then the memory is freed.
        let _ = FREE.try_with(|free| free.borrow_mut().push(lines));
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` made at least `len` values' worth of initialised lines, any bits of which
        // are values, aligned to more than `T` needs (the trait's promise).
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_used_again() {
        let first = Buffer::<f32>::padded(&[1.0, 2.0], 100);
        assert!(first.as_ptr().addr().is_multiple_of(LINE));
        assert_eq!(
            (first[0], first[1], first[2], first[99]),
            (1.0, 2.0, 0.0, 0.0)
        );
        let place = first.as_ptr().addr();
        drop(first);
        let second = Buffer::<u16>::new(200);
        assert_eq!(second.as_ptr().addr(), place);
        let third = Buffer::<u16>::new(200);
        assert_ne!(third.as_ptr().addr(), place);
    }

    #[test]
    fn nothing_is_a_buffer_too() {
        assert!(Buffer::<f32>::new(0).is_empty());
        assert!(Buffer::<f32>::padded(&[], 0).is_empty());
    }
}
