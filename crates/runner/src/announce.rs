//! What a run says before its first step.

use std::path::Path;

use rescore_agents::PolicyKind;
use rescore_store::arrays::{Array, Arrays};
use rescore_store::disk::{self, size};
use rescore_store::names::REPLAY;
use rescore_store::segments::segment_files;

use crate::config::Config;
use crate::footprint::{Footprint, Memory};

/// Says what the run will write into `folder`, how often, and how much memory and disk it takes at
/// most; with a warning if there is less. `dims` are the lengths of an observation and of an
/// action, `agent` is what a checkpoint of it holds.
pub fn announce(config: &Config, folder: &Path, dims: (usize, usize), agent: &Arrays) {
    // Environments are far smaller.
    let checkpoint = agent.values().map(Array::bytes).sum();
    let footprint = Footprint::new(config, dims).with_checkpoints_of(checkpoint);
    for line in writes(config, folder, checkpoint) {
        tracing::info!("{line}");
    }
    let memory = Memory::now().map(|memory| memory.available);
    let there: u64 = segment_files(&folder.join(REPLAY))
        .iter()
        .filter_map(|path| Some(path.metadata().ok()?.len()))
        .sum();
    let disk = disk::free(folder).map(|free| free.saturating_add(there));
    tracing::info!(
        "memory: up to {} for the replay buffer{}; disk: up to {}{}",
        size(footprint.memory),
        beside(memory, "available"),
        size(footprint.disk()),
        beside(disk, "free")
    );
    if memory.is_some_and(|available| footprint.memory > available) {
        tracing::warn!(
            "the replay buffer may need more memory than is available now; a smaller one: \
             --set replay.capacity=N"
        );
    }
    if disk.is_some_and(|free| footprint.disk() > free) {
        tracing::warn!(
            "the run may need more disk than is free; less is needed with --set \
             replay.capacity=N or --set replay.store=false"
        );
    }
    if let Some(sizes) = config.agent.settings.outline().sizes
        && sizes.policy == PolicyKind::Denoiser
        && !sizes.fused
    {
        tracing::info!(
            "the fused denoising chain runs `mlp` networks with `mish`: this policy is sampled layer by \
             layer, which takes longer"
        );
    }
    if !config.replay.store {
        tracing::warn!(
            "the replay buffer is not stored (replay.store = false): a run that is \
             interrupted can be resumed, but not exactly"
        );
    }
}

/// The files of a run in words, for checkpoints of `checkpoint` bytes.
fn writes(config: &Config, folder: &Path, checkpoint: u64) -> [String; 3] {
    let training = &config.training;
    [
        format!(
            "writing to {}: config.toml and manifest.json; metrics.jsonl every {} steps; eval.csv, {} \
             episodes every {} steps{}",
            folder.display(),
            training.log_every,
            config.evaluation.episodes,
            config.evaluation.every,
            if training.tensorboard {
                "; tensorboard/ with the same"
            } else {
                ""
            }
        ),
        format!(
            "checkpoints/ every {} steps, of which the last two and the best are kept, {} each",
            training.checkpoint_every,
            size(checkpoint)
        ),
        if config.replay.store {
            "replay/ with the replay buffer, so that the run can be resumed exactly".to_owned()
        } else {
            "no replay/".to_owned()
        },
    ]
}

fn beside(bytes: Option<u64>, what: &str) -> String {
    bytes.map_or_else(String::new, |bytes| format!(" ({} {what})", size(bytes)))
}
