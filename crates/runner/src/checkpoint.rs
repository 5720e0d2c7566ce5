//! Checkpoints: `checkpoints/<step>/` with `agent.safetensors` and `checkpoint.json`.
//!
//! A checkpoint is written into a folder with a temporary name, its files are brought to the disk,
//! and the folder is renamed last; so whatever carries a step's name is complete. The last two
//! are kept, and the best by mean evaluation return, which `checkpoints/best.json` names.
//!
//! `agent.safetensors` holds every array of the agent's state (networks, targets, optimiser
//! moments, counters), which is what an exact resume will need of the agent.

use std::fs;
use std::path::{Path, PathBuf};

use rescore_agents::{Array, StateDict};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::RunError;
use crate::config::Config;
use crate::run_folder::{sha256_hex, sync_folder, write_json, write_synced};

const FORMAT_VERSION: u32 = 1;
const STATE_FILE: &str = "agent.safetensors";
const DESCRIPTION_FILE: &str = "checkpoint.json";
const BEST_FILE: &str = "best.json";
const KEPT: usize = 2;

/// What `checkpoint.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Version of the layout of a checkpoint; this program reads and writes 1.
    pub format_version: u32,
    /// Name of the algorithm.
    pub algo: String,
    /// Name of the task.
    pub env: String,
    /// Length of an observation.
    pub observation_dim: usize,
    /// Length of an action.
    pub action_dim: usize,
    /// Environment steps since the end of warm-up.
    pub step: u64,
    /// Gradient updates done.
    pub update: u64,
    /// SHA-256 of `agent.safetensors` in hexadecimal; filled in when it is written.
    pub sha256: String,
}

impl Description {
    /// The description of a checkpoint of this run.
    pub fn new(config: &Config, dims: (usize, usize), step: u64, update: u64) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            algo: config.algo.name().to_owned(),
            env: config.env.clone(),
            observation_dim: dims.0,
            action_dim: dims.1,
            step,
            update,
            sha256: String::new(),
        }
    }

    /// The first thing in which this checkpoint does not fit a run, in words.
    fn difference(&self, run: &Self) -> Option<String> {
        let differs =
            |what: &str, found: &dyn std::fmt::Display, needed: &dyn std::fmt::Display| {
                Some(format!("its {what} is {found}, but the run's is {needed}"))
            };
        if self.format_version != run.format_version {
            differs("format version", &self.format_version, &run.format_version)
        } else if self.algo != run.algo {
            differs("algorithm", &self.algo, &run.algo)
        } else if self.observation_dim != run.observation_dim {
            differs(
                "observation length",
                &self.observation_dim,
                &run.observation_dim,
            )
        } else if self.action_dim != run.action_dim {
            differs("action length", &self.action_dim, &run.action_dim)
        } else if self.env != run.env {
            differs("task", &self.env, &run.env)
        } else {
            None
        }
    }
}

/// The best evaluation so far, as `best.json` holds it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Step of the evaluation and of its checkpoint.
    pub step: u64,
    /// Mean return of its episodes.
    pub mean_return: f64,
}

/// Which checkpoint of a run is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one with the highest step.
    Last,
    /// The one with the best evaluation.
    Best,
    /// The one of this step.
    Step(u64),
}

/// The checkpoints of one run folder.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// The checkpoints below the run folder `run`.
    pub fn of(run: &Path) -> Self {
        Self {
            folder: run.join("checkpoints"),
        }
    }

    /// Writes a checkpoint, durable and whole, and removes those that are no longer kept. With
    /// `best` it becomes the best so far.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(
        &self,
        mut description: Description,
        state: &StateDict,
        best: Option<Best>,
    ) -> Result<PathBuf, RunError> {
        let path = self.folder.join(description.step.to_string());
        if !path.exists() {
            let temporary = self.folder.join(format!(".{}.tmp", description.step));
            fs::create_dir_all(&temporary).map_err(RunError::io("create", &temporary))?;
            let bytes = encode(state, &path)?;
            description.sha256 = sha256_hex(&bytes);
            write_synced(&temporary.join(STATE_FILE), &bytes)?;
            write_json(&temporary.join(DESCRIPTION_FILE), &description)?;
            fs::rename(&temporary, &path).map_err(RunError::io("write", &path))?;
            sync_folder(&self.folder)?;
        }
        if let Some(best) = best {
            write_json(&self.folder.join(BEST_FILE), &best)?;
        }
        self.prune()?;
        Ok(path)
    }

    /// The best evaluation that has a checkpoint.
    ///
    /// # Errors
    /// When `best.json` is missing or damaged.
    pub fn best(&self) -> Result<Best, RunError> {
        let path = self.folder.join(BEST_FILE);
        let text = fs::read_to_string(&path).map_err(RunError::io("read", &path))?;
        parse_json(&path, &text)
    }

    /// All steps that have a checkpoint, ascending.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>, RunError> {
        let entries = fs::read_dir(&self.folder).map_err(RunError::io("read", &self.folder))?;
        let mut steps: Vec<u64> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Folder of the checkpoint asked for.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, which: Which) -> Result<PathBuf, RunError> {
        let steps = self.steps()?;
        let step = match which {
            Which::Last => *steps.last().ok_or_else(|| RunError::Usage {
                message: format!("{} holds no checkpoint yet", self.folder.display()),
                hint: None,
            })?,
            Which::Best => self.best()?.step,
            Which::Step(step) => step,
        };
        if steps.contains(&step) {
            return Ok(self.folder.join(step.to_string()));
        }
        let there: Vec<_> = steps.iter().map(u64::to_string).collect();
        Err(RunError::usage(
            format!(
                "{} holds no checkpoint of step {step}",
                self.folder.display()
            ),
            format!("there are: best, {}", there.join(", ")),
        ))
    }

    /// Removes all but the last two checkpoints and the best.
    fn prune(&self) -> Result<(), RunError> {
        let steps = self.steps()?;
        let best = self.best().map(|best| best.step).ok();
        for step in steps.iter().rev().skip(KEPT) {
            if Some(*step) != best {
                let path = self.folder.join(step.to_string());
                fs::remove_dir_all(&path).map_err(RunError::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// Reads the checkpoint in the folder `path`, which must fit `run`, and hands its state to `take`.
///
/// What is said about a wrong file is the most telling thing: that its tensors do not fit comes
/// before that its hash is not the one recorded.
///
/// # Errors
/// When a file is missing, damaged, or does not fit; the message names it.
pub fn load(
    path: &Path,
    run: &Description,
    take: impl FnOnce(&StateDict) -> Result<(), rescore_agents::StateError>,
) -> Result<Description, RunError> {
    let file = path.join(DESCRIPTION_FILE);
    let text = fs::read_to_string(&file).map_err(RunError::io("read", &file))?;
    let description: Description = parse_json(&file, &text)?;
    if let Some(message) = description.difference(run) {
        return Err(RunError::Mismatch {
            path: file,
            message,
        });
    }
    let file = path.join(STATE_FILE);
    let bytes = fs::read(&file).map_err(RunError::io("read", &file))?;
    let state = decode(&bytes).map_err(|message| RunError::Corrupt {
        path: file.clone(),
        message,
    })?;
    take(&state).map_err(|error| RunError::Mismatch {
        path: file.clone(),
        message: error.to_string(),
    })?;
    if sha256_hex(&bytes) != description.sha256 {
        return Err(RunError::Corrupt {
            path: file,
            message: format!("its hash is not the one in {DESCRIPTION_FILE}"),
        });
    }
    Ok(description)
}

fn parse_json<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, RunError> {
    serde_json::from_str(text).map_err(|error| RunError::Corrupt {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

/// The safetensors bytes of a state: `f32` arrays, and counters as `u64` of shape `[1]`.
fn encode(state: &StateDict, path: &Path) -> Result<Vec<u8>, RunError> {
    let arrays: Vec<_> = state
        .iter()
        .map(|(name, array)| match array {
            Array::F32(shape, values) => {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                (name, Dtype::F32, shape.clone(), bytes)
            }
            Array::U64(value) => (name, Dtype::U64, vec![1], value.to_le_bytes().to_vec()),
        })
        .collect();
    arrays
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            TensorView::new(*dtype, shape.clone(), bytes).map(|view| (*name, view))
        })
        .collect::<Result<Vec<_>, _>>()
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|error| RunError::Corrupt {
            path: path.to_owned(),
            message: format!("the agent's state cannot be written: {error}"),
        })
}

/// Reads what [`encode`] wrote. The safetensors library checks all lengths and offsets.
fn decode(bytes: &[u8]) -> Result<StateDict, String> {
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|error| format!("not a safetensors file ({error})"))?;
    let mut state = StateDict::default();
    for (name, view) in tensors.iter() {
        let array = match (view.dtype(), view.shape()) {
            (Dtype::F32, shape) => {
                let (values, _) = view.data().as_chunks::<4>();
                let values = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
                Array::F32(shape.to_vec(), values)
            }
            (Dtype::U64, [1]) => match view.data().try_into() {
                Ok(value) => Array::U64(u64::from_le_bytes(value)),
                Err(_) => return Err(format!("counter `{name}` is not 8 bytes long")),
            },
            (dtype, shape) => {
                return Err(format!(
                    "tensor `{name}` has type {dtype:?} and shape {shape:?}, but only f32 arrays \
                     and single u64 counters occur in a checkpoint"
                ));
            }
        };
        state.insert(name, array);
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(step: u64) -> Description {
        Description {
            format_version: FORMAT_VERSION,
            algo: "dpmd".into(),
            env: "Pendulum-v1".into(),
            observation_dim: 3,
            action_dim: 1,
            step,
            update: step / 5,
            sha256: String::new(),
        }
    }

    fn state() -> StateDict {
        let mut state = StateDict::default();
        state.insert(
            "policy.weight",
            Array::F32(vec![2, 2], vec![1.0, -0.0, 3.5, f32::MIN]),
        );
        state.insert("updates", Array::U64(u64::MAX));
        state
    }

    fn save(checkpoints: &Checkpoints, step: u64, best: Option<Best>) -> PathBuf {
        checkpoints
            .save(description(step), &state(), best)
            .expect("writable")
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checkpoints = Checkpoints::of(folder.path());
        let path = save(&checkpoints, 10, None);
        let mut found = None;
        let read = load(&path, &description(0), |state| {
            found = Some(state.clone());
            Ok(())
        })
        .expect("just written");
        assert_eq!(read.step, 10);
        assert_eq!(found, Some(state()));
    }

    #[test]
    fn the_last_two_and_the_best_are_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checkpoints = Checkpoints::of(folder.path());
        for step in [10, 20, 30, 40, 50] {
            let best = (step == 20).then_some(Best {
                step,
                mean_return: 1.5,
            });
            save(&checkpoints, step, best);
        }
        assert_eq!(checkpoints.steps().expect("readable"), [20, 40, 50]);
        let name = |which| {
            checkpoints
                .find(which)
                .map(|p| p.file_name().map(ToOwned::to_owned))
        };
        assert_eq!(name(Which::Last).expect("exists"), Some("50".into()));
        assert_eq!(name(Which::Best).expect("exists"), Some("20".into()));
        let error = name(Which::Step(30)).expect_err("removed");
        assert_eq!(error.hint().as_deref(), Some("there are: best, 20, 40, 50"));
    }

    #[test]
    fn a_changed_or_cut_file_is_noticed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = save(&Checkpoints::of(folder.path()), 10, None);
        let file = path.join(STATE_FILE);
        let whole = fs::read(&file).expect("just written");
        let load = || load(&path, &description(0), |_| Ok(())).expect_err("damaged");

        let mut changed = whole.clone();
        *changed.last_mut().expect("not empty") ^= 1;
        fs::write(&file, &changed).expect("writable");
        assert!(load().to_string().contains("its hash is not"));

        for length in [0, 4, 8, 20, whole.len() - 1] {
            fs::write(&file, &whole[..length]).expect("writable");
            let error = load();
            assert!(error.to_string().contains("agent.safetensors"), "{error}");
            assert!(matches!(error, RunError::Corrupt { .. }), "{error}");
        }
    }

    #[test]
    fn a_checkpoint_of_another_run_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = save(&Checkpoints::of(folder.path()), 10, None);
        let other = Description {
            observation_dim: 17,
            ..description(0)
        };
        let error = load(&path, &other, |_| Ok(())).expect_err("other dimensions");
        assert!(matches!(error, RunError::Mismatch { .. }));
        assert!(
            error
                .to_string()
                .contains("its observation length is 3, but the run's is 17"),
            "{error}"
        );
    }
}
