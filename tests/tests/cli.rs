//! The program `rescore` as a user meets it: exit codes, messages, run folders, reproducibility.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The program under test: `RESCORE_BIN`, else the one beside this test executable.
fn binary() -> PathBuf {
    let path = std::env::var_os("RESCORE_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("a test knows its own path");
            let profile = test
                .ancestors()
                .nth(2)
                .expect("tests lie in <profile>/deps");
            profile.join("rescore")
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} does not exist: build it with `cargo build --release -p rescore-runner`, or set \
         RESCORE_BIN",
        path.display()
    );
    path
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .current_dir(folder)
        .args(arguments)
        .env("RUST_LOG", "warn");
    command
}

/// Runs the program in `folder`.
fn rescore(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments)
        .output()
        .expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the program, which must end with `code` and say all of `messages` on stderr.
fn fails(folder: &Path, arguments: &[&str], code: i32, messages: &[&str]) {
    let output = rescore(folder, arguments);
    let text = stderr(&output);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?} says: {text}"
    );
    for message in messages {
        assert!(
            text.contains(message),
            "{arguments:?}: no `{message}` in: {text}"
        );
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// Settings that make a run take about a second.
const TINY: &[&str] = &[
    "--set",
    "hidden_dims=[16, 16]",
    "--set",
    "num_envs=2",
    "--set",
    "batch_size=16",
    "--set",
    "warmup_steps=50",
    "--set",
    "eval_every=40",
    "--set",
    "eval_episodes=2",
    "--set",
    "checkpoint_every=30",
    "--set",
    "log_every=10",
];

/// A run of 100 steps on Pendulum-v1 with tiny settings and `more`, which may choose otherwise.
fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = [&["train"], TINY, more].concat();
    for (option, value) in [("--env", "Pendulum-v1"), ("--steps", "100")] {
        if !more.contains(&option) {
            arguments.extend([option, value]);
        }
    }
    arguments
}

/// Trains in `folder`, which must succeed.
fn trains(folder: &Path, arguments: &[&str]) -> Output {
    let output = rescore(folder, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    output
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `folder` that must not differ between two equal runs, with their bytes.
fn reproducible_files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(&current).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(folder).expect("below it").to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !["manifest.json", "metrics.jsonl"].contains(&name.to_str().unwrap_or("")) {
                files.push((name, fs::read(&path).expect("a readable file")));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn bad_names_end_with_2_and_a_suggestion() {
    let folder = temporary();
    let folder = folder.path();
    for (arguments, messages) in [
        (
            ["--env", "Pendulum-v2"],
            ["unknown task `Pendulum-v2`", "`Pendulum-v1`"],
        ),
        (["--algo", "dpdm"], ["unknown algorithm `dpdm`", "`dpmd`"]),
        (
            ["--backend", "flexx"],
            ["unknown backend `flexx`", "`flex`"],
        ),
        (
            ["--backend", "cuda"],
            ["`cuda` is not compiled", "--backend cuda"],
        ),
        (
            ["--set", "gama=0.9"],
            ["unknown key `gama`", "`agent.gamma`"],
        ),
        (
            ["--set", "preset=refrence"],
            ["unknown preset `refrence`", "`reference`"],
        ),
        (["--set", "gamma"], ["--set gamma", "KEY=VALUE"]),
        (["--stepz", "5"], ["--stepz", "--steps"]),
    ] {
        fails(folder, &tiny(&arguments), 2, &messages);
    }
    assert_eq!(
        fs::read_dir(folder).expect("a folder").count(),
        0,
        "something was created"
    );
}

#[test]
fn bad_numbers_end_with_2() {
    let folder = temporary();
    for steps in ["0", "-1", "NaN", "1.5", "many"] {
        let arguments = ["train", "--env", "Pendulum-v1", &format!("--steps={steps}")];
        fails(folder.path(), &arguments, 2, &["--steps"]);
    }
    for (setting, key) in [
        ("lr=-1e-3", "agent.critic_lr"),
        ("critic_lr=nan", "agent.critic_lr"),
        ("gamma=1.01", "agent.gamma"),
        ("gamma=nan", "agent.gamma"),
        ("tau=-0.1", "agent.tau"),
        ("particles=0", "agent.particles"),
        ("particles=-4", "agent.particles"),
        ("denoising_steps=2.5", "agent.denoising_steps"),
        ("noise_scale=inf", "agent.noise_scale"),
        ("hidden_dims=[]", "agent.hidden_dims"),
        ("schedule=cubic", "agent.schedule"),
        ("batch_size=0", "training.batch_size"),
        ("updates_per_step=0", "training.updates_per_step"),
        ("updates_per_step=nan", "training.updates_per_step"),
        ("warmup_steps=2000000", "training.warmup_steps"),
        ("seed=-1", "seed"),
        ("steps=0", "steps"),
    ] {
        let option = format!("--set {setting}");
        fails(
            folder.path(),
            &tiny(&["--set", setting]),
            2,
            &[&option, key],
        );
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn a_broken_configuration_file_is_named_with_line_and_column() {
    let folder = temporary();
    let file = folder.path().join("my.toml");
    for (text, place) in [
        ("seed = 1\n[agent\n", "my.toml:2:"),
        (
            "seed = 1\n[agent]\ngama = 0.9\n",
            "my.toml:3:1: unknown key `agent.gama`",
        ),
        ("[agent]\ngamma = -1\n", "my.toml:2:1: `agent.gamma`"),
        ("steps = \"many\"\n", "my.toml:1:1: `steps`"),
        ("seed = 1\0\n", "my.toml:1:"),
    ] {
        fs::write(&file, text).expect("writable");
        fails(
            folder.path(),
            &["train", "--config", "my.toml"],
            2,
            &[place],
        );
    }
    fs::write(&file, [0xff, 0xfe, 0x00]).expect("writable");
    fails(
        folder.path(),
        &["train", "--config", "my.toml"],
        74,
        &["my.toml"],
    );
    fails(
        folder.path(),
        &["train", "--config", "none.toml"],
        74,
        &["none.toml"],
    );
}

#[test]
fn run_folders_that_cannot_be_used_are_refused() {
    let folder = temporary();
    let folder = folder.path();
    fs::create_dir(folder.join("full")).expect("writable");
    fs::write(folder.join("full/precious.txt"), "mine").expect("writable");
    fails(
        folder,
        &tiny(&["--out", "full"]),
        2,
        &["full", "not empty", "hint: "],
    );
    let left: Vec<_> = fs::read_dir(folder.join("full"))
        .expect("a folder")
        .collect();
    assert_eq!(left.len(), 1, "a file was left in somebody's folder");

    // A path below a regular file cannot be written, not even by root.
    fs::write(folder.join("file"), "").expect("writable");
    fails(folder, &tiny(&["--out", "file/run"]), 74, &["file/run"]);
    fails(folder, &tiny(&["--out", "file"]), 74, &["file"]);
}

/// Ends a child process when a test is over, also when it fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_folder_held_by_a_running_process_ends_with_73() {
    let folder = temporary();
    let run = folder.path().join("run");
    let arguments = tiny(&["--steps", "100000000", "--out", "run"]);
    let mut process = Killed(
        command(folder.path(), &arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts"),
    );
    let start = std::time::Instant::now();
    while !run.join("manifest.json").exists() {
        let ended = process.0.try_wait().expect("our own child");
        assert!(ended.is_none(), "the run ended early: {ended:?}");
        assert!(start.elapsed().as_secs() < 60, "the run does not begin");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    fails(
        folder.path(),
        &tiny(&["--out", "run"]),
        73,
        &["run", "held"],
    );
    drop(process);
    fails(folder.path(), &tiny(&["--out", "run"]), 2, &["not empty"]);
}

#[test]
fn a_run_leaves_its_folder_and_can_be_repeated_bit_for_bit() {
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

    trains(folder, &tiny(&["--seed", "3", "--out", "second"]));
    trains(
        folder,
        &[
            "train",
            "--config",
            "deep/er/first/config.toml",
            "--out",
            "third",
        ],
    );
    let expected = reproducible_files(&first);
    let names: Vec<_> = expected
        .iter()
        .map(|(name, _)| name.display().to_string())
        .collect();
    assert!(
        names.iter().any(|name| name.ends_with("agent.safetensors")),
        "{names:?}"
    );
    for other in ["second", "third"] {
        for (a, b) in expected.iter().zip(reproducible_files(&folder.join(other))) {
            assert_eq!(a.0, b.0);
            assert!(a.1 == b.1, "{} differs in the {other} run", a.0.display());
        }
    }

    trains(folder, &tiny(&["--seed", "4", "--out", "other-seed"]));
    assert_ne!(
        read(&folder.join("other-seed/eval.csv")),
        eval,
        "the seed has no effect"
    );
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
fn every_algorithm_trains_and_evaluates_on_every_compiled_backend() {
    let folder = temporary();
    let folder = folder.path();
    for backend in ["flex", "ndarray"] {
        let probe = rescore(folder, &tiny(&["--backend", backend, "--out", backend]));
        if backend != "flex" && stderr(&probe).contains("not compiled") {
            println!("{backend} is not compiled in: skipped");
            continue;
        }
        for algo in ["dpmd", "sdac", "sac"] {
            let run = format!("{algo}-{backend}");
            let arguments = ["--algo", algo, "--backend", backend, "--out", &run];
            trains(folder, &tiny(&arguments));
            let output = rescore(folder, &["eval", &run, "--json"]);
            assert!(output.status.success(), "{run}: {}", stderr(&output));
            let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
            // Returns of Pendulum-v1 lie between -200 times its largest cost, 16.3, and 0.
            let mean = report["mean_return"].as_f64().expect("a number");
            assert!((-3260.0..=0.0).contains(&mean), "{run}: {mean}");
        }
    }
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

#[test]
fn policies_that_do_not_fit_are_refused_by_file_name() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &tiny(&["--out", "run"]));
    trains(
        folder,
        &tiny(&["--set", "hidden_dims=[8, 8]", "--out", "narrow"]),
    );
    let state = "checkpoints/100/agent.safetensors";
    let good = fs::read(folder.join("run").join(state)).expect("just written");
    let with_state = |bytes: &[u8], code: i32, messages: &[&str]| {
        fs::write(folder.join("run").join(state), bytes).expect("writable");
        fails(folder, &["eval", "run"], code, messages);
    };

    let narrow = fs::read(folder.join("narrow").join(state)).expect("just written");
    with_state(&narrow, 1, &["agent.safetensors", "shape"]);
    for length in [0, 7, 100, good.len() / 2] {
        with_state(&good[..length], 74, &["agent.safetensors", "damaged"]);
    }
    let mut flipped = good.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    with_state(&flipped, 74, &["agent.safetensors", "hash"]);
    fs::write(folder.join("run").join(state), &good).expect("writable");

    // A configuration of another task or algorithm beside the checkpoint.
    let config = read(&folder.join("run/config.toml"));
    for (from, to, message) in [
        ("Pendulum-v1", "MultiGoal-v0", "observation length"),
        (
            "hidden_dims = [16, 16]",
            "hidden_dims = [16, 16, 16]",
            "agent.safetensors",
        ),
    ] {
        let changed = config.replace(from, to);
        assert_ne!(changed, config, "`{from}` is not in config.toml");
        fs::write(folder.join("run/config.toml"), changed).expect("writable");
        fails(folder, &["eval", "run"], 1, &[message]);
    }
    fs::write(folder.join("run/config.toml"), "seed = [").expect("writable");
    fails(folder, &["eval", "run"], 2, &["config.toml:1:"]);
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
    fails(folder, &["plot", "three", "--out", "x.svg"], 74, &["three"]);
    fails(
        folder,
        &["plot", "one", "--out", "one/eval.csv/x.svg"],
        74,
        &["x.svg"],
    );
}

#[test]
fn bench_writes_a_table() {
    let folder = temporary();
    let arguments = [
        "bench",
        "act",
        "--algo",
        "dpmd",
        "--particles",
        "2",
        "--set",
        "hidden_dims=[8]",
        "--json",
        "b.json",
    ];
    let output = rescore(folder.path(), &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let table: Value = serde_json::from_str(&read(&folder.path().join("b.json"))).expect("JSON");
    let row = &table[0];
    for (key, expected) in [
        ("bench", Value::from("act")),
        ("variant", "dpmd".into()),
        ("backend", "flex".into()),
        ("task", "HalfCheetah-v4".into()),
        ("rows", 5.into()),
        ("particles", 2.into()),
        ("precision", "f32".into()),
    ] {
        assert_eq!(row[key], expected, "{key} of {row}");
    }
    assert!(row["ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert!(row["threads"].as_u64().is_some_and(|threads| threads > 0));
    assert!(row["cpu"].is_string());
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
