//! The program `rescore` as a user meets it: run folders, reproducibility, evaluation, drawings.

use rescore_tests::program::{
    are_equal, command, fails, read, rescore, stderr, stdout, tiny, trains, trains_and_evaluates,
};
use rescore_tests::runs::assert_same;
use serde_json::Value;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn a_run_leaves_its_results_in_its_folder() {
    let folder = temporary();
    let folder = folder.path();
    let output = trains(folder, &tiny(&["--seed", "3", "--out", "deep/er/first"]));
    assert_eq!(
        stdout(&output).trim(),
        "deep/er/first",
        "the run folder is what train prints"
    );
    let first = folder.join("deep/er/first");

    let eval = read(&first.join("eval.csv"));
    let rows: Vec<Vec<&str>> = eval.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(
        rows[0],
        [
            "step",
            "episodes",
            "mean_return",
            "std_return",
            "return_0",
            "return_1"
        ]
    );
    let steps: Vec<_> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(
        steps,
        ["40", "80", "100"],
        "every multiple of eval_every, and the end"
    );
    for row in &rows[1..] {
        let number = |i: usize| row[i].parse::<f64>().expect("a number");
        let mean = f64::midpoint(number(4), number(5));
        assert!(
            (number(2) - mean).abs() <= 1e-9 * mean.abs(),
            "mean of {row:?}"
        );
        let std = (number(4) - number(5)).abs() / 2.0;
        assert!(
            (number(3) - std).abs() <= 1e-9 * mean.abs(),
            "population std of {row:?}"
        );
    }

    let metrics: Vec<Value> = read(&first.join("metrics.jsonl"))
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object per line"))
        .collect();
    assert_eq!(metrics.len(), 10);
    let last = &metrics[9];
    // 100 steps at 0.2 updates per step.
    assert_eq!(
        (last["step"].as_u64(), last["update"].as_u64()),
        (Some(100), Some(20))
    );
    for key in [
        "wall_time_s",
        "env_steps_per_s",
        "q1_loss",
        "q2_loss",
        "policy_loss",
    ] {
        assert!(last[key].is_number(), "no {key} in {last}");
    }
    let manifest: Value = serde_json::from_str(&read(&first.join("manifest.json"))).expect("JSON");
    assert_eq!(manifest["backend"], "flex");
    assert!(
        manifest["command"]
            .as_array()
            .is_some_and(|words| words.len() > 5)
    );
    assert!(first.join("DONE").exists());
}

#[test]
fn a_run_can_be_repeated_bit_for_bit() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &tiny(&["--seed", "3", "--out", "first"]));
    // The number of threads must not matter either.
    let second = tiny(&["--seed", "3", "--out", "second"]);
    let output = command(folder, &second)
        .env("RAYON_NUM_THREADS", "1")
        .output();
    assert!(output.is_ok_and(|output| output.status.success()));
    trains(
        folder,
        &["train", "--config", "first/config.toml", "--out", "third"],
    );
    let first = folder.join("first");
    let names = rescore_tests::runs::contents(&first);
    assert!(
        names.keys().any(|name| name.ends_with("agent.safetensors")),
        "{names:?}"
    );
    for other in ["second", "third"] {
        assert_same(&first, &folder.join(other));
    }

    trains(folder, &tiny(&["--seed", "4", "--out", "other-seed"]));
    assert_ne!(
        read(&folder.join("other-seed/eval.csv")),
        read(&folder.join("first/eval.csv")),
        "the seed has no effect"
    );
}

#[test]
fn the_option_for_a_preset_is_the_setting() {
    let folder = temporary();
    let folder = folder.path();
    let config =
        |options: &[&str]| stdout(&trains(folder, &[&["config", "sac"], options].concat()));
    let named = config(&["--preset", "reference"]);
    assert_eq!(named, config(&["--set", "agent.preset=reference"]));
    assert_ne!(named, config(&["--preset", "textbook"]));
    assert!(named.contains("preset = \"reference\""), "{named}");
}

#[test]
fn runs_without_a_folder_are_named_and_numbered() {
    let folder = temporary();
    let mut names = Vec::new();
    for _ in 0..3 {
        let output = trains(folder.path(), &tiny(&["--algo", "sac", "--steps", "10"]));
        names.push(stdout(&output).trim().to_owned());
    }
    assert!(
        names[0].starts_with("runs/sac-Pendulum-v1-s0-"),
        "{names:?}"
    );
    assert_eq!(names[1], format!("{}-2", names[0]));
    assert_eq!(names[2], format!("{}-3", names[0]));
}

#[test]
fn every_actor_trains_and_evaluates() {
    trains_and_evaluates(temporary().path(), "flex");
}

#[test]
fn eval_plays_the_checkpoint_asked_for() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &tiny(&["--out", "run"]));
    let report = |arguments: &[&str]| -> Value {
        let output = rescore(folder, &[&["eval", "run", "--json"], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stdout(&output).lines().count(), 1, "one line of JSON");
        serde_json::from_str(&stdout(&output)).expect("JSON")
    };
    let last = report(&["--episodes", "3"]);
    assert_eq!(last["episodes"], 3);
    assert_eq!(last["step"], 100);
    let returns: Vec<f64> = last["returns"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|value| value.as_f64().expect("a number"))
        .collect();
    assert_eq!(returns.len(), 3);
    let mean = returns.iter().sum::<f64>() / 3.0;
    let found = last["mean_return"].as_f64().expect("a number");
    assert!((found - mean).abs() <= 1e-9 * mean.abs());
    assert!(last["std_return"].as_f64().is_some_and(|std| std >= 0.0));
    assert_eq!(
        report(&["--episodes", "3"]),
        last,
        "evaluation is repeatable"
    );

    let best: Value =
        serde_json::from_str(&read(&folder.join("run/checkpoints/best.json"))).expect("JSON");
    assert_eq!(report(&["--checkpoint", "best"])["step"], best["step"]);
    let step = best["step"].to_string();
    assert_eq!(report(&["--checkpoint", &step])["step"], best["step"]);
    fails(
        folder,
        &["eval", "run", "--checkpoint", "7"],
        2,
        &["no checkpoint of step 7", "100"],
    );
    fails(
        folder,
        &["eval", "run", "--checkpoint", "worst"],
        2,
        &["best"],
    );
    fails(folder, &["eval", "nowhere"], 74, &["nowhere"]);
}

/// Without options `eval` repeats the evaluation that the log shows of a checkpoint; each option
/// changes what it says and nothing else.
#[test]
fn eval_repeats_the_evaluation_of_the_log_and_plays_others() {
    let folder = temporary();
    let folder = folder.path();
    trains(
        folder,
        &tiny(&["--out", "run", "--set", "checkpoint_every=40"]),
    );
    let report = |arguments: &[&str]| -> Value {
        let output = rescore(folder, &[&["eval", "run", "--json"], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).expect("JSON")
    };
    let returns = |report: &Value| -> Vec<f64> {
        let returns = report["returns"].as_array().expect("an array");
        let numbers = returns.iter().map(Value::as_f64);
        numbers.map(|number| number.expect("a number")).collect()
    };
    let table = read(&folder.join("run/eval.csv"));
    let mut repeated = 0;
    for row in table.lines().skip(1) {
        let row: Vec<&str> = row.split(',').collect();
        if !folder.join("run/checkpoints").join(row[0]).exists() {
            continue;
        }
        let logged: Vec<f64> = row[4..]
            .iter()
            .map(|x| x.parse().expect("a number"))
            .collect();
        let again = returns(&report(&["--checkpoint", row[0]]));
        assert!(are_equal(&again, &logged), "step {}: {again:?}", row[0]);
        repeated += 1;
    }
    assert!(repeated > 1, "{table}");

    let log = returns(&report(&[]));
    let more = returns(&report(&["--episodes", "5"]));
    assert_eq!(more[..2], log[..], "the first episodes are the same");
    for other in [
        &["--seed", "7"][..],
        &["--set", "evaluation_particles=64"],
        &["--set", "precision=bf16"],
        &["--stochastic"],
    ] {
        let found = returns(&report(other));
        assert_ne!(found, log, "{other:?}");
        assert_eq!(found, returns(&report(other)), "{other:?} is repeatable");
    }
    let short = report(&["--set", "task.time_limit=7"]);
    assert_eq!(short["lengths"], serde_json::json!([7, 7]));
    for (key, reason) in [
        ("gamma=0.5", "`agent.gamma` decides what the policy is"),
        ("denoising_steps=3", "`agent.actor.denoising_steps`"),
        ("batch_size=3", "`training.batch_size`"),
        ("gama=0.5", "agent.gamma"),
    ] {
        fails(folder, &["eval", "run", "--set", key], 2, &[reason]);
    }
}

#[test]
fn envs_lists_tasks_with_dimensions() {
    let folder = temporary();
    let output = rescore(folder.path(), &["envs", "--json"]);
    let tasks: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let cheetah = tasks
        .as_array()
        .expect("an array")
        .iter()
        .find(|task| task["name"] == "HalfCheetah-v4")
        .expect("HalfCheetah-v4 is registered");
    assert_eq!(
        (
            cheetah["observation_dim"].as_u64(),
            cheetah["action_dim"].as_u64()
        ),
        (Some(17), Some(6))
    );
    let text = stdout(&rescore(folder.path(), &["envs"]));
    assert!(
        text.lines().any(|line| line.starts_with("Pendulum-v1 ")),
        "{text}"
    );
}

#[test]
fn plot_overlays_runs() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &tiny(&["--out", "one"]));
    trains(folder, &tiny(&["--seed", "1", "--out", "two"]));
    let output = rescore(folder, &["plot", "one", "two", "--out", "curve.svg"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let svg = read(&folder.join("curve.svg"));
    assert!(svg.starts_with("<svg") && svg.contains("one") && svg.contains("two"));
    let over_seeds = ["plot", "one", "two", "--over-seeds", "--out", "seeds.svg"];
    let output = rescore(folder, &over_seeds);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = stdout(&output);
    assert!(
        summary.starts_with("dpmd on Pendulum-v1, 2 seeds: best "),
        "{summary}"
    );
    assert!(read(&folder.join("seeds.svg")).contains("2 seeds"));
    fails(
        folder,
        &["plot", "one", "one", "--over-seeds", "--out", "x.svg"],
        2,
        &["same seed"],
    );
    fails(folder, &["plot", "three", "--out", "x.svg"], 74, &["three"]);
    fails(
        folder,
        &["plot", "one", "--out", "one/eval.csv/x.svg"],
        74,
        &["x.svg"],
    );
    let output = rescore(folder, &["plot", "one", "--out", "one/curve.PNG"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let png = std::fs::read(folder.join("one/curve.PNG")).expect("just written");
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));

    // Nothing but a picture is replaced, and nothing of a run.
    let before = rescore_tests::runs::contents(&folder.join("one"));
    std::fs::write(folder.join("notes.svg"), "my notes").expect("writable");
    for (out, complaint) in [
        ("one/eval.csv", "does not end in .svg or .png"),
        ("x.pdf", "does not end in .svg or .png"),
        ("notes.svg", "not a picture"),
        ("one/checkpoints/100/x.png", "among the files of the run"),
        ("one/replay/x.svg", "among the files of the run"),
    ] {
        fails(folder, &["plot", "one", "--out", out], 2, &[complaint]);
    }
    let bench = [
        "bench",
        "envs",
        "--env",
        "Pendulum-v1",
        "--json",
        "one/manifest.json",
    ];
    fails(folder, &bench, 2, &["among the files of the run"]);
    assert_eq!(rescore_tests::runs::contents(&folder.join("one")), before);
    assert_eq!(read(&folder.join("notes.svg")), "my notes");
    let again = rescore(folder, &["plot", "two", "--out", "curve.svg"]);
    assert!(again.status.success(), "{}", stderr(&again));
    assert_ne!(
        read(&folder.join("curve.svg")),
        svg,
        "an older picture is replaced"
    );
}

#[test]
fn plot_leaves_out_what_is_not_whole() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &tiny(&["--out", "one"]));
    trains(folder, &tiny(&["--seed", "1", "--out", "two"]));
    let eval = read(&folder.join("two/eval.csv"));
    let lines: Vec<_> = eval.split_inclusive('\n').collect();
    // Killed while it wrote its second row of three.
    let half = &lines[2][..lines[2].len() / 2];
    std::fs::write(
        folder.join("two/eval.csv"),
        [lines[0], lines[1], half].concat(),
    )
    .expect("writable");
    let plot = ["plot", "one", "two", "--over-seeds", "--out", "curve.svg"];
    let output = rescore(folder, &plot);
    assert!(output.status.success(), "{}", stderr(&output));
    let (said, warned) = (stdout(&output), stderr(&output));
    assert!(
        said.contains("of the 1 of 3 steps that all seeds have, the last 40"),
        "{said}"
    );
    for part in [
        "two/eval.csv",
        "last row",
        "seed 1 (two) has no evaluation at 2 steps from 80 to 100",
    ] {
        assert!(warned.contains(part), "no {part} in {warned}");
    }

    std::fs::write(folder.join("two/eval.csv"), lines[0]).expect("writable");
    let output = rescore(folder, &plot);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("1 seed: best"),
        "{}",
        stdout(&output)
    );
    assert!(
        stderr(&output).contains("two has no evaluation yet"),
        "{}",
        stderr(&output)
    );
    for plot in [
        &["plot", "two", "--out", "x.png"][..],
        &["plot", "two", "--over-seeds", "--out", "x.png"],
    ] {
        fails(folder, plot, 2, &["none of the runs has an evaluation"]);
    }

    std::fs::write(folder.join("two/eval.csv"), [lines[0], lines[2]].concat()).expect("writable");
    let mut one: Vec<_> = lines.clone();
    one.remove(2);
    std::fs::write(folder.join("one/eval.csv"), one.concat()).expect("writable");
    fails(folder, &plot, 2, &["no common step"]);
    assert!(!folder.join("x.png").exists());
}

#[test]
fn help_names_the_exit_codes() {
    let folder = temporary();
    for arguments in [&["--help"][..], &["train", "--help"]] {
        let text = stdout(&rescore(folder.path(), arguments));
        for code in ["0 ", "2 ", "73", "74", "75", "1 "] {
            assert!(text.contains(&format!("\n  {code}")), "no {code} in {text}");
        }
    }
}

#[test]
fn report_writes_tables_and_a_page() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &tiny(&["--out", "runs/one"]));
    trains(folder, &tiny(&["--seed", "1", "--out", "runs/two"]));
    trains(folder, &tiny(&["--algo", "td3", "--out", "runs/three"]));
    // Without a name, those below runs/; by name, the same.
    for (named, out) in [
        (&[][..], "a"),
        (&["runs"], "b"),
        (&["runs/one", "runs/two", "runs/three"], "c"),
    ] {
        let output = rescore(folder, &[&["report", "--out", out], named].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stdout(&output).trim(), format!("{out}/index.html"));
        assert!(stderr(&output).contains("td3 has one seed on Pendulum-v1"));
        let words = read(&folder.join(out).join("report.md"));
        assert!(
            words.contains("| Pendulum-v1 | dpmd | 2 | 100 |"),
            "{words}"
        );
        assert_eq!(
            read(&folder.join(out).join("index.html")),
            read(&folder.join("a/index.html")),
            "the same runs give the same bytes"
        );
    }
    // Copies for a repository are reported as the runs are.
    trains(folder, &["report", "--out", "a", "--archive", "kept"]);
    assert!(!folder.join("kept/one/checkpoints").exists());
    trains(folder, &["report", "kept", "--out", "of-copies"]);
    let words = |out: &str| read(&folder.join(out).join("report.md"));
    assert_eq!(words("of-copies"), words("a"));
    fails(
        folder,
        &["report", "--out", "a", "--archive", "runs"],
        2,
        &["runs/one is a run and no copy of one"],
    );
    fails(
        folder,
        &["report", "--out", "a", "--archive", "a/b"],
        2,
        &["a/b lies in the folder of the report"],
    );
    fails(
        folder,
        &["train", "--resume", "kept/one", "--steps", "1000"],
        2,
        &["was pruned and cannot go on"],
    );
    fails(folder, &["report", "none", "--out", "d"], 74, &["none"]);
    fails(
        folder,
        &["report", "a", "--out", "d"],
        2,
        &["a holds no run"],
    );
    fails(
        folder,
        &["report", "--out", "runs"],
        2,
        &["no file of a report"],
    );
    fails(
        folder,
        &["report", "--out", "d", "--reference", "a/returns.csv"],
        74,
        &["a/returns.csv", "row 1"],
    );
}

/// The mean of a Gaussian policy and the best of several of its samples are different policies.
#[test]
fn the_best_of_several_samples_is_played_where_it_is_asked_for() {
    let folder = temporary();
    let folder = folder.path();
    trains(
        folder,
        &tiny(&["--algo", "sac", "--best-of", "4", "--out", "run"]),
    );
    assert!(read(&folder.join("run/config.toml")).contains("best_of = 4"));
    let returns = |more: &[&str]| {
        let output = rescore(folder, &[&["eval", "run", "--json"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        report["returns"].clone()
    };
    let as_trained = returns(&[]);
    assert_eq!(as_trained, returns(&["--best-of", "4"]));
    assert_ne!(as_trained, returns(&["--best-of", "0"]));
    assert_ne!(as_trained, returns(&["--best-of", "32"]));
    fails(
        folder,
        &["eval", "run", "--best-of", "70000"],
        2,
        &["evaluation.best_of"],
    );
}
