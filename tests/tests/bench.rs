//! Benchmarks as a user meets them: tables, comparisons, bad input.

use std::fs;
use std::path::Path;

use rescore_tests::program::{fails, read, rescore, stderr, stdout};
use serde_json::Value;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// What `bench` with these arguments and small networks writes as JSON.
fn bench(folder: &Path, arguments: &[&str]) -> (String, Value) {
    let small = ["--particles", "2", "--set", "hidden_dims=[8]"];
    let sizes = ["--set", "batch_size=4", "--json", "b.json"];
    let arguments = [&["bench"][..], arguments, &small, &sizes].concat();
    let output = rescore(folder, &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let table = serde_json::from_str(&read(&folder.join("b.json"))).expect("JSON");
    (stdout(&output), table)
}

#[test]
fn bench_writes_a_table() {
    let folder = temporary();
    let (_, table) = bench(folder.path(), &["act", "--algo", "dpmd"]);
    let row = &table[0];
    for (key, expected) in [
        ("bench", Value::from("act")),
        ("variant", "fused-f32".into()),
        ("algo", "dpmd".into()),
        ("backend", "flex".into()),
        ("task", "HalfCheetah-v4".into()),
        ("rows", 4.into()),
        ("particles", 2.into()),
        ("precision", "f32".into()),
    ] {
        assert_eq!(row[key], expected, "{key} of {row}");
    }
    for key in ["ms", "gflops", "matmul_gflops"] {
        assert!(row[key].as_f64().is_some_and(|x| x > 0.0), "{key} of {row}");
    }
    assert!(row["threads"].as_u64().is_some_and(|threads| threads > 0));
    assert!(row["cpu"].is_string());
}

#[test]
fn the_chain_is_measured_plain_and_fused_and_beside_another_program() {
    let folder = temporary();
    let (_, table) = bench(folder.path(), &["chain"]);
    let variants: Vec<_> = (0..3).map(|i| table[i]["variant"].clone()).collect();
    assert_eq!(variants, ["plain", "fused-f32", "fused-bf16"]);
    assert!(
        table
            .as_array()
            .is_some_and(|rows| rows.iter().all(|row| row["rows"] == 8))
    );

    let other = r#"[{"bench": "chain", "variant": "other", "task": "HalfCheetah-v4",
        "rows": 8, "particles": 2, "ms": 1e6}]"#;
    fs::write(folder.path().join("other.json"), other).expect("writable");
    let (text, _) = bench(folder.path(), &["chain", "--against", "other.json"]);
    let ratios = text
        .lines()
        .filter(|line| line.contains("other takes 1000000.00 ms"));
    assert_eq!(ratios.count(), 3, "{text}");

    let (_, table) = bench(folder.path(), &["critic"]);
    assert_eq!(table[0]["variant"], "plain");
    assert_eq!(table[1]["variant"], "fused-f32");
    fails(
        folder.path(),
        &["bench", "chain", "--algo", "sac"],
        2,
        &["sac", "chain"],
    );
    fails(
        folder.path(),
        &["bench", "chain", "--against", "no.json"],
        74,
        &["no.json"],
    );
}

#[test]
fn an_iteration_of_training_is_measured_in_parts() {
    let folder = temporary();
    let set = ["--set", "warmup_steps=20", "--env", "Pendulum-v1"];
    let (text, table) = bench(
        folder.path(),
        &[&["train", "--algo", "dpmd"][..], &set].concat(),
    );
    let parts = ["act", "read actions", "step and store", "update"];
    for (i, part) in parts.iter().enumerate() {
        assert_eq!(table[0]["parts"][i][0], *part);
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(table[0]["bench"], "train");
}

#[test]
fn an_unknown_precision_is_a_usage_error() {
    let folder = temporary();
    let arguments = ["train", "--set", "precision=f8", "--out", "run"];
    fails(folder.path(), &arguments, 2, &["precision", "f8"]);
}
