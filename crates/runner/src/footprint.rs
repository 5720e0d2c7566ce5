//! How much memory and disk a run will take at most, beside what there is.

use rescore_store::disk::size;
use rescore_store::segments::Layout;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::RunError;
use crate::config::Config;
use crate::replay::memory_rows;

/// Checkpoints that may be on the disk at once: the last two, the best, and one that is written.
const CHECKPOINTS: u64 = 4;

/// Bytes that a run takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Memory of the replay buffer when it is full.
    pub memory: u64,
    /// Disk of the replay buffer: what the latest checkpoints need and what the best one does.
    pub replay: u64,
    /// Disk of the checkpoints; see [`Footprint::with_checkpoints_of`].
    pub checkpoints: u64,
}

impl Footprint {
    /// Of a run whose task has these lengths of an observation and of an action. Checkpoints are
    /// not counted yet.
    pub fn new(config: &Config, dims: (usize, usize)) -> Self {
        let training = &config.training;
        let capacity = config.replay.capacity;
        let layout = Layout::new(capacity as usize, dims.0, dims.1);
        let record = layout.record() as u64;
        let counted = training.count_warmup;
        let warmup = if counted { 0 } else { training.warmup_steps };
        let made = config.steps.saturating_add(warmup);
        let rows = memory_rows(made.min(capacity));
        // The segments of a buffer begin and end within others.
        let buffer = capacity.saturating_mul(record) + 2 * layout.segment();
        let stored = made.saturating_mul(record).min(2 * buffer);
        Self {
            memory: rows.saturating_mul(record),
            replay: if config.replay.store { stored } else { 0 },
            checkpoints: 0,
        }
    }

    /// The same with checkpoints of `bytes` each.
    #[must_use]
    pub const fn with_checkpoints_of(self, bytes: u64) -> Self {
        let checkpoints = CHECKPOINTS * bytes;
        Self {
            checkpoints,
            ..self
        }
    }

    /// Disk of everything together.
    pub const fn disk(&self) -> u64 {
        self.replay.saturating_add(self.checkpoints)
    }

    /// Requires that the replay buffer fits into the memory of this machine.
    ///
    /// # Errors
    /// [`RunError::Usage`] when it could not even if nothing else were running.
    pub fn require_memory(&self) -> Result<(), RunError> {
        Memory::now().map_or(Ok(()), |memory| self.require(memory))
    }

    fn require(&self, memory: Memory) -> Result<(), RunError> {
        if self.memory <= memory.total {
            return Ok(());
        }
        Err(RunError::usage(
            format!(
                "the replay buffer takes {} of memory when it is full, but this machine has {}",
                size(self.memory),
                size(memory.total)
            ),
            "a smaller one needs less: --set replay.capacity=N",
        ))
    }
}

/// Memory of this machine, or of the container that the program runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that a program could have, swap included.
    pub total: u64,
    /// Bytes that one could have now without swapping.
    pub available: u64,
}

impl Memory {
    /// The present state, where the system tells.
    pub fn now() -> Option<Self> {
        let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::everything());
        let system = System::new_with_specifics(refresh);
        let total = system.total_memory();
        if total == 0 {
            return None;
        }
        let whole = Self {
            total: total.saturating_add(system.total_swap()),
            available: system.available_memory(),
        };
        let Some(limits) = system.cgroup_limits() else {
            return Some(whole);
        };
        let limited = limits.total_memory.saturating_add(limits.free_swap);
        Some(Self {
            total: whole.total.min(limited),
            // Not its free memory, in which the cache of files counts as used.
            available: (whole.available).min(limits.total_memory.saturating_sub(limits.rss)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, resolve};

    fn config(set: &[&str]) -> Config {
        let published = [
            "steps=1000000",
            "warmup_steps=30000",
            "replay.capacity=1000000",
        ];
        let set = published.iter().chain(set);
        let request = Request {
            env: Some("Pendulum-v1".into()),
            set: set.map(|&setting| setting.to_owned()).collect(),
            ..Request::default()
        };
        resolve(&request).expect("a configuration")
    }

    /// Observation 376, action 17: 771 numbers a transition.
    const HUMANOID: (usize, usize) = (376, 17);

    #[test]
    fn a_long_run_of_a_large_task_takes_gigabytes() {
        let footprint = Footprint::new(&config(&[]), HUMANOID);
        // A million rows in blocks of 4096.
        assert_eq!(footprint.memory, 1_003_520 * 3084);
        // A million transitions are made, fewer than two buffers hold.
        assert_eq!(footprint.replay, 1_000_000 * 3084);
        assert_eq!(size(footprint.memory), "3.1 GB");
        let beside = Footprint::new(&config(&["count_warmup=false"]), HUMANOID);
        assert_eq!(beside.replay, 1_030_000 * 3084);
        let with = footprint.with_checkpoints_of(5_000_000);
        assert_eq!(with.disk(), footprint.replay + 20_000_000);
    }

    #[test]
    fn short_runs_small_buffers_and_none_on_the_disk_take_less() {
        let short = Footprint::new(&config(&["steps=100", "warmup_steps=50"]), (3, 1));
        assert_eq!((short.memory, short.replay), (4096 * 36, 100 * 36));
        let small = config(&["replay.capacity=40000"]);
        let small = Footprint::new(&small, (3, 1));
        assert_eq!(small.memory, 40_960 * 36);
        // Two buffers of 40,000 with two segments of 5000 each, which have headers.
        assert_eq!(small.replay, 2 * (40_000 * 36 + 2 * (32 + 5000 * 36)));
        let none = Footprint::new(&config(&["replay.store=false"]), HUMANOID);
        assert_eq!(none.disk(), 0);
    }

    #[test]
    fn a_buffer_that_never_fits_is_refused() {
        let footprint = Footprint::new(&config(&[]), HUMANOID);
        let memory = |total| Memory {
            total,
            available: 0,
        };
        assert!(footprint.require(memory(4_000_000_000)).is_ok());
        let error = footprint
            .require(memory(2_000_000_000))
            .expect_err("too little");
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("3.1 GB") && text.contains("2.0 GB"), "{text}");
    }

    #[test]
    fn this_machine_has_memory() {
        if let Some(memory) = Memory::now() {
            assert!(
                memory.total > 0 && memory.available <= memory.total,
                "{memory:?}"
            );
        }
    }
}
