//! Where the time of an iteration goes: on the host, and on a device that computes by itself.

use std::fmt::Write as _;
use std::time::Instant;

use burn::tensor::Tensor;
use rescore_kernels::{RescoreBackend, dense::matmul};
use rescore_runner::RunError;
use serde::Serialize;

use super::{median, random};

/// Side of the matrices that keep the device occupied.
const SIDE: usize = 1024;
/// Measurements of each kind; the median counts.
const REPETITIONS: usize = 11;
/// Characters from the beginning of an iteration to its end.
const COLUMNS: usize = 64;

/// What a device that computes by itself is occupied with during one iteration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceTimes {
    /// Milliseconds for the actions of all environments.
    pub act_ms: f64,
    /// Milliseconds for the updates that an iteration makes due.
    pub update_ms: f64,
    /// Share of the iteration in which the device computes: the sum of both over its time.
    pub busy: f64,
    /// The iteration as a picture.
    #[serde(skip)]
    pub picture: String,
}

/// Work that occupies the device while the host hands it more, so that what follows is computed
/// without a gap and its time is the device's alone.
pub(super) struct Plug<'a, B: RescoreBackend> {
    device: &'a B::Device,
    factor: Tensor<B, 2>,
    products: usize,
}

impl<'a, B: RescoreBackend> Plug<'a, B> {
    /// Occupies the device for at least `ms` milliseconds.
    ///
    /// # Errors
    /// When the device fails; so do the others.
    pub fn new(ms: f64, device: &'a B::Device) -> Result<Self, RunError> {
        let mut this = Self {
            device,
            factor: random([SIDE, SIDE], 0, device),
            products: 1,
        };
        this.time(&mut || ())?;
        while this.time(&mut || ())? < ms {
            this.products *= 2;
        }
        Ok(this)
    }

    /// Milliseconds that the device takes for `work`.
    pub fn device_ms(&self, mut work: impl FnMut()) -> Result<f64, RunError> {
        // Pairs, so that what else the machine does meets both.
        let pair = |_| {
            let without = self.time(&mut || ())?;
            Ok(self.time(&mut work)? - without)
        };
        let mut times: Vec<_> = (0..REPETITIONS)
            .map(pair)
            .collect::<Result<_, RunError>>()?;
        times.sort_by(f64::total_cmp);
        Ok(median(&times).max(0.0))
    }

    /// Milliseconds for the plug with `work` behind it.
    fn time(&self, work: &mut dyn FnMut()) -> Result<f64, RunError> {
        wait::<B>(self.device)?;
        let start = Instant::now();
        for _ in 0..self.products {
            drop(matmul(self.factor.clone(), self.factor.clone()));
        }
        work();
        wait::<B>(self.device)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

/// Waits until `device` has nothing left to do.
///
/// # Errors
/// When it could not do what it was given.
pub(super) fn wait<B: RescoreBackend>(device: &B::Device) -> Result<(), RunError> {
    B::sync(device).map_err(|error| RunError::Device {
        reason: format!("{error}"),
    })
}

/// Something that lasts from `begin` to `begin + ms`, both in milliseconds.
pub(super) struct Span {
    pub letter: char,
    pub begin: f64,
    pub ms: f64,
}

/// One iteration of `total` milliseconds as a picture: a line for each of `lanes`. What lasts beyond
/// the end goes on at the beginning, as one iteration follows another.
pub(super) fn draw(total: f64, lanes: &[(&str, Vec<Span>)]) -> String {
    let mut text = String::new();
    let indent = " ".repeat(9);
    let end = format!("{total:.2} ms");
    let _ = write!(
        text,
        "\n{indent}{:8}|0{end:>width$}|",
        "",
        width = COLUMNS - 1
    );
    for (name, spans) in lanes {
        let mut line = vec![' '; COLUMNS];
        let mut spans: Vec<_> = spans.iter().collect();
        spans.sort_by(|a, b| a.begin.total_cmp(&b.begin));
        let mut free = 0;
        for (index, span) in spans.iter().enumerate() {
            let column = |ms: f64| (ms / total * COLUMNS as f64).round() as usize;
            // Each begins in a column of its own: everything is seen, however short.
            let last = COLUMNS.saturating_sub(spans.len() - index);
            let begin = column(span.begin).clamp(free.min(last), last);
            let end = column(span.begin + span.ms).max(begin + 1);
            free = begin + 1;
            for place in begin..end.min(begin + COLUMNS) {
                // What goes on at the beginning hides nothing that is there.
                if place < COLUMNS || line[place % COLUMNS] == ' ' {
                    line[place % COLUMNS] = span.letter;
                }
            }
        }
        let line: String = line.into_iter().collect();
        let _ = write!(text, "\n{indent}{name:8}|{line}|");
    }
    text
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;

    #[test]
    fn what_lasts_beyond_the_end_goes_on_at_the_beginning() {
        let span = |letter, begin, ms| Span { letter, begin, ms };
        let picture = draw(
            6.4,
            &[
                ("host", vec![span('a', 0.0, 0.2), span('b', 0.2, 0.001)]),
                ("device", vec![span('u', 6.2, 0.3)]),
            ],
        );
        let lines: Vec<_> = picture.lines().skip(1).collect();
        assert_eq!(lines[0].trim_start().len(), COLUMNS + 2);
        assert!(lines[0].ends_with("6.40 ms|"), "{picture}");
        assert_eq!(lines[1].split('|').nth(1).map(str::trim_end), Some("aab"));
        let device = lines[2].split('|').nth(1).unwrap_or_default();
        assert_eq!(device.trim_matches('u').len(), COLUMNS - 3, "{picture}");
        assert!(device.starts_with('u') && device.ends_with("uu"));
    }

    /// On a machine that is slow for a moment, acting is shorter than half a column.
    #[test]
    fn what_is_shorter_than_a_column_is_not_hidden() {
        let span = |letter, begin, ms| Span { letter, begin, ms };
        let host = vec![
            span('a', 0.0, 0.32),
            span('d', 0.32, 0.01),
            span('w', 0.33, 5.9),
            span('u', 6.23, 43.2),
        ];
        let end = vec![span('x', 49.3, 0.01), span('y', 49.4, 0.01)];
        let device = vec![span('u', 6.2, 61.2), span('a', 1.2, 5.0)];
        let picture = draw(49.47, &[("host", host), ("end", end), ("device", device)]);
        let lane = |name: &str| {
            let line = picture.lines().find(|line| line.contains(name));
            line.and_then(|line| line.split('|').nth(1)).unwrap_or("")
        };
        assert!(lane("host").starts_with("adwwwwwwu"), "{picture}");
        assert!(lane("end").ends_with(" xy"), "{picture}");
        assert!(lane("device").starts_with("uuaaaaaau"), "{picture}");
        assert_eq!(lane("device").chars().count(), COLUMNS);
    }

    #[test]
    fn the_time_of_work_does_not_hold_that_of_the_plug() {
        let device = Default::default();
        let plug = Plug::<Flex>::new(1.0, &device).expect("the processor does not fail");
        assert_eq!(plug.products.count_ones(), 1);
        let pause = std::time::Duration::from_millis(300);
        // On the processor, which computes at once, the host's time is the device's.
        let ms = plug.device_ms(|| std::thread::sleep(pause));
        let ms = ms.expect("the processor does not fail");
        assert!(ms > 100.0, "{ms}");
    }
}
