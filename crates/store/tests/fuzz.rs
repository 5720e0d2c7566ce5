//! Every file of a run, with ten thousand inputs each: nothing panics, hangs or takes memory out of
//! proportion.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rescore_store::arrays::{Array, Arrays};
use rescore_store::checkpoint::{Checkpoints, Contents, Description, Limits, Progress, load};
use rescore_store::durable::{parse_json, sha256_hex};
use rescore_store::log::{EvalLog, Evaluations, MetricsLog};
use rescore_store::run_folder::Manifest;
use rescore_store::segments::{Layout, Records, ReplayReference, Segments};

mod common;

use common::{CASES, Edit, alone, config, edited, edits, in_proportion};

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

fn agent() -> Arrays {
    let weight = Array::F32 {
        shape: vec![4, 3],
        values: vec![0.5; 12],
    };
    Arrays::from([
        ("policy.weight".to_owned(), weight),
        ("updates".to_owned(), Array::U64(vec![2])),
    ])
}

fn environments() -> Arrays {
    let name = Array::Bytes(b"Pendulum-v1".to_vec());
    Arrays::from([
        (
            "training.env.0.position".to_owned(),
            Array::F64(vec![0.5, 0.25]),
        ),
        ("training.env.0.name".to_owned(), name),
    ])
}

/// A buffer of so many equal records.
struct Equal(u64);

impl Records for Equal {
    fn stored(&self) -> u64 {
        self.0
    }

    fn held(&self) -> u64 {
        self.0
    }

    fn capacity(&self) -> u64 {
        40
    }

    fn values(&self, _: u64) -> impl Iterator<Item = f32> {
        [1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 0.0].into_iter()
    }
}

/// A run folder with a checkpoint and a buffer; where the checkpoint is and what it refers to.
fn run(folder: &Path) -> (PathBuf, ReplayReference) {
    let layout = Layout::new(40, 3, 1);
    let mut segments = Segments::create(folder.join("replay"), layout).expect("writable");
    let reference = segments.save(&Equal(12)).expect("writable");
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
        load(checkpoint, &description(), limits, |_| Ok::<(), String>(()))
    });
    fs::write(&file, &good).expect("writable");
    fs::write(&sums_file, &sums).expect("writable");
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
                    Segments::load(&replay, layout, 40, &other, |_| ())
                });
            }
        } else {
            let path = replay.join(&names[which]);
            let good = fs::read(&path).expect("there");
            let bytes = edited(&good, &edits);
            fs::write(&path, &bytes).expect("writable");
            let result = in_proportion(bytes.len(), || {
                Segments::load(&replay, layout, 40, &reference, |_| ())
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
            let _ = in_proportion(bytes.len(), || Evaluations::read(folder.path()));
            let _ = in_proportion(bytes.len(), || EvalLog::open(&eval, 1, kept));
        }
    });
}
