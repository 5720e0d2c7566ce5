//! Everything that is read, with ten thousand inputs each: nothing panics, hangs or takes memory
//! out of proportion.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use rescore_agents::{Array, StateDict};
use rescore_envs::EnvState;
use rescore_runner::checkpoint::{Checkpoints, Contents, Description, Limits, Progress, load};
use rescore_runner::config::{Request, resolve};
use rescore_runner::durable::{parse_json, sha256_hex};
use rescore_runner::log::{EvalLog, MetricsLog};
use rescore_runner::plot::Curve;
use rescore_runner::replay::{Layout, Replay, ReplayReference, Segments, Transition};
use rescore_runner::run_folder::Manifest;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const CASES: u32 = 10_000;
/// What reading takes whatever the input: buffers, defaults, error messages.
const BASE: usize = 2 << 20;

/// Tests that measure memory must be alone: they hold this from beginning to end.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work` and requires that it allocates no more than ten times `input` bytes.
fn in_proportion<T>(input: usize, work: impl FnOnce() -> T) -> T {
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
type Edit = (u16, u8, Vec<u8>);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
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
fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
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

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn description() -> Description {
    Description {
        algo: "sac".into(),
        env: "Pendulum-v1".into(),
        observation_dim: 3,
        action_dim: 1,
        settings: "0".repeat(64),
        step: 10,
        update: 2,
    }
}

fn agent() -> StateDict {
    let mut state = StateDict::default();
    state.insert("policy.weight", Array::F32(vec![4, 3], vec![0.5; 12]));
    state.insert("updates", Array::U64(2));
    state
}

fn environments() -> EnvState {
    let mut state = EnvState::new();
    state.put_f64("training.env.0.position", &[0.5, 0.25]);
    state.put_bytes("training.env.0.name", b"Pendulum-v1");
    state
}

/// A run folder with a checkpoint and a buffer; where the checkpoint is and what it refers to.
fn run(folder: &Path) -> (PathBuf, ReplayReference) {
    let layout = Layout::new(40, 3, 1);
    let mut segments = Segments::create(folder.join("replay"), layout).expect("writable");
    let mut replay = Replay::new(40, 3, 1);
    for _ in 0..12 {
        segments.follow(&replay).expect("writable");
        replay.push(Transition {
            observation: &[1.0; 3],
            action: &[2.0],
            reward: 3.0,
            next_observation: &[4.0; 3],
            terminated: false,
        });
    }
    let reference = segments.save(&replay).expect("writable");
    let contents = Contents {
        description: description(),
        progress: Progress::default(),
        replay: reference.clone(),
        agent: &agent(),
        environments: &environments(),
    };
    let checkpoint = Checkpoints::of(folder).save(contents).expect("writable");
    (checkpoint, reference)
}

/// Changes `name` of a checkpoint, hash included, reads it, and puts it back.
fn read_edited(checkpoint: &Path, name: &str, edits: &[Edit]) {
    let (file, sums_file) = (checkpoint.join(name), checkpoint.join("SHA256SUMS"));
    let good = fs::read(&file).expect("there");
    let sums = fs::read_to_string(&sums_file).expect("there");
    let bytes = edited(&good, edits);
    let other = sums.replace(&sha256_hex(&good), &sha256_hex(&bytes));
    if name != "SHA256SUMS" {
        fs::write(&sums_file, other).expect("writable");
    }
    fs::write(&file, &bytes).expect("writable");
    let limits = Limits::new(&agent(), &environments());
    // Whatever it says: it says something.
    let _ = in_proportion(bytes.len(), || {
        load(checkpoint, &description(), limits, |state| {
            state.check_names(&agent())
        })
    });
    fs::write(&file, &good).expect("writable");
    fs::write(&sums_file, &sums).expect("writable");
}

#[test]
fn configuration_files() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("config.toml");
    let good = resolve(&Request::default())
        .expect("the defaults")
        .to_toml();
    proptest!(config(CASES), |(edits in edits())| {
        let bytes = edited(good.as_bytes(), &edits);
        fs::write(&path, &bytes).expect("writable");
        let _ = in_proportion(bytes.len(), || resolve(&Request::of_run(folder.path())));
    });
}

#[test]
fn settings_of_the_command_line() {
    let _alone = alone();
    let good = [
        "seed=1",
        "agent.gamma=0.9",
        "hidden_dims=[16, 16]",
        "env=Pendulum-v1",
        "lr=1e-3",
        "preset=reference",
    ];
    proptest!(config(CASES), |(which in 0..good.len(), edits in edits(), free in ".{0,40}", use_free: bool)| {
        let text = edited(good[which].as_bytes(), &edits);
        let text = if use_free { free } else { String::from_utf8_lossy(&text).into_owned() };
        let request = Request { set: vec![text.clone()], ..Request::default() };
        let _ = in_proportion(text.len(), || resolve(&request));
    });
}

#[test]
fn manifests() {
    let _alone = alone();
    let good = r#"{"version":"0.1.0","commit":null,"backend":"flex","device":"a","threads":2,
        "host":"b","command":["rescore","train"],"started_unix_s":1,"resumed":[{"step":5,
        "version":"0.1.0","commit":"c","backend":"flex","device":"a","threads":2,"host":"b",
        "command":[],"started_unix_s":2}]}"#;
    parse_json::<Manifest>(Path::new("manifest.json"), good.as_bytes()).expect("good");
    proptest!(config(CASES), |(edits in edits())| {
        let bytes = edited(good.as_bytes(), &edits);
        let _ = in_proportion(bytes.len(), || {
            parse_json::<Manifest>(Path::new("manifest.json"), &bytes)
        });
    });
}

#[test]
fn checkpoints() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (checkpoint, _) = run(folder.path());
    let files = [
        "agent.safetensors",
        "environments.safetensors",
        "checkpoint.json",
        "SHA256SUMS",
    ];
    proptest!(config(CASES), |(which in 0..files.len(), edits in edits())| {
        read_edited(&checkpoint, files[which], &edits);
    });
    read_edited(&checkpoint, files[0], &[]);
}

#[test]
fn segments() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_, reference) = run(folder.path());
    let names: Vec<_> = reference
        .segments
        .iter()
        .map(|segment| segment.file.clone())
        .collect();
    assert_eq!(names.len(), 3);
    let layout = Layout::new(40, 3, 1);
    let replay = folder.path().join("replay");
    let text = serde_json::to_string(&reference).expect("plain");
    proptest!(config(CASES), |(which in 0..names.len(), edits in edits(), of_reference: bool)| {
        if of_reference {
            let bytes = edited(text.as_bytes(), &edits);
            if let Ok(other) = serde_json::from_slice::<ReplayReference>(&bytes) {
                let _ = in_proportion(bytes.len(), || {
                    Segments::load(&replay, layout, 40, &other)
                });
            }
        } else {
            let path = replay.join(&names[which]);
            let good = fs::read(&path).expect("there");
            let bytes = edited(&good, &edits);
            fs::write(&path, &bytes).expect("writable");
            let result = in_proportion(bytes.len(), || {
                Segments::load(&replay, layout, 40, &reference)
            });
            let same = bytes.starts_with(&good);
            prop_assert_eq!(result.is_ok(), same, "{:?}", result.err());
            fs::write(&path, &good).expect("writable");
        }
    });
}

#[test]
fn logs() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let metrics = folder.path().join("metrics.jsonl");
    let eval = folder.path().join("eval.csv");
    let lines = r#"{"step":5,"update":1,"wall_time_s":0.5,"env_steps_per_s":10.0,"episodes":0,"q1_loss":0.1}
"#
    .repeat(4);
    let rows = "step,episodes,mean_return,std_return,return_0\n5,1,2.5,0,2.5\n10,1,3,0,3\n";
    proptest!(config(CASES), |(edits in edits(), kept in 0_u64..7, of_metrics: bool)| {
        if of_metrics {
            let bytes = edited(lines.as_bytes(), &edits);
            fs::write(&metrics, &bytes).expect("writable");
            let _ = in_proportion(bytes.len(), || MetricsLog::open(&metrics, kept));
            let left = fs::read(&metrics).expect("there");
            prop_assert!(bytes.starts_with(&left));
            let count = left.split(|byte| *byte == b'\n').count() as u64 - 1;
            prop_assert!(count <= kept && (left.is_empty() || left.ends_with(b"\n")));
        } else {
            let bytes = edited(rows.as_bytes(), &edits);
            fs::write(&eval, &bytes).expect("writable");
            let _ = in_proportion(bytes.len(), || Curve::read(folder.path()));
            let _ = in_proportion(bytes.len(), || EvalLog::open(&eval, 1, kept));
        }
    });
}
