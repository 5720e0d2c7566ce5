//! What a run says before it begins, and runs that take less disk: without a stored replay buffer,
//! and pruned.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rescore_tests::program::{command, fails, read, rescore, stderr, stdout, tiny, trains};
use rescore_tests::runs::{assert_same, contents};
use serde_json::Value;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Every file below `folder` with its length.
fn lengths(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut lengths = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let length = path.metadata().expect("there").len();
                lengths.insert(path, length);
            }
        }
    }
    lengths
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("writable");
        }
    }
}

fn checkpoints(run: &Path) -> Vec<u64> {
    let entries = fs::read_dir(run.join("checkpoints")).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut steps: Vec<_> = names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    steps.sort_unstable();
    steps
}

fn log(run: &Path) -> Vec<Value> {
    let text = read(&run.join("metrics.jsonl"));
    let parse = |line| serde_json::from_str(line).expect("one object per line");
    text.lines().map(parse).collect()
}

#[test]
fn a_run_says_what_it_writes_and_how_long_it_takes() {
    let folder = temporary();
    let output = command(folder.path(), &tiny(&["--out", "run", "--steps", "400"]))
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .output()
        .expect("the program starts");
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(stdout(&output).trim(), "run", "only the folder is data");
    for part in [
        "writing to run: config.toml and manifest.json; metrics.jsonl every 10 steps; eval.csv, 2 episodes every 40 steps",
        "checkpoints/ every 30 steps",
        "replay/ with the replay buffer",
        // 4096 rows of 9 numbers; 450 transitions of them on the disk.
        "memory: up to 147.5 kB for the replay buffer",
        "estimate: next evaluation, at step ",
        "end, at step 400, in about 0:0",
        "shorter with --steps N (now 400) or --set ",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    assert_eq!(said.matches("estimate:").count(), 1, "{said}");
}

#[cfg(feature = "mujoco")]
#[test]
fn a_replay_buffer_larger_than_the_memory_is_refused() {
    let folder = temporary();
    // 13 TB.
    let huge = [
        "--env",
        "Humanoid-v4",
        "--steps",
        "1e12",
        "--set",
        "replay.capacity=4294967295",
        "--out",
        "run",
    ];
    let complaint = ["13.2 TB of memory", "replay.capacity"];
    fails(folder.path(), &tiny(&huge), 2, &complaint);
    assert!(!folder.path().join("run").exists(), "a folder was left");
}

#[cfg(feature = "mujoco")]
#[test]
fn every_line_of_the_log_has_returns_and_terms_of_the_reward() {
    let folder = temporary();
    let folder = folder.path();
    let mut arguments = tiny(&["--env", "HalfCheetah-v4", "--out", "run"]);
    // Each line is of one episode; two have ended in warm-up.
    for setting in [
        "num_envs=1",
        "time_limit=20",
        "log_every=20",
        "warmup_steps=40",
    ] {
        arguments.extend(["--set", setting]);
    }
    trains(folder, &arguments);
    let lines = log(&folder.join("run"));
    assert_eq!(lines.len(), 5);
    let number = |line: &Value, key: &str| {
        let value = line[key].as_f64();
        value.unwrap_or_else(|| panic!("no {key} in {line}"))
    };
    let mut before: Option<f64> = None;
    for (index, line) in lines.iter().enumerate() {
        let ended = index as f64 + 3.0;
        let sum = ended * number(line, "episode_return");
        assert_eq!(
            (&line["episode_length"], &line["episodes"]),
            (&20.0.into(), &1.into())
        );
        let reward = 20.0 * (number(line, "info/reward_run") + number(line, "info/reward_ctrl"));
        if let Some(before) = before {
            let episode = sum - before;
            assert!(
                (episode - reward).abs() < 1e-9,
                "{episode} is not {reward}: {line}"
            );
        }
        before = Some(sum);
    }
    let manifest: Value =
        serde_json::from_str(&read(&folder.join("run/manifest.json"))).expect("JSON");
    // Built outside of a repository it has none.
    if let Some(commit) = manifest["commit"].as_str() {
        let hash = commit.strip_suffix('+').unwrap_or(commit);
        let is_hash = hash.len() >= 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hash, "{commit}");
    }
}

#[test]
fn a_run_without_a_stored_buffer_collects_a_new_one() {
    let folder = temporary();
    let folder = folder.path();
    let set = ["--set", "replay.store=false"];
    let output = trains(folder, &tiny(&[&set[..], &["--out", "run"]].concat()));
    let said = stderr(&output);
    assert!(
        said.contains("replay.store = false") && said.contains("not exactly"),
        "{said}"
    );
    assert!(!folder.join("run/replay").exists());
    copy(&folder.join("run"), &folder.join("again"));
    for run in ["run", "again"] {
        let output = trains(folder, &["train", "--resume", run, "--steps", "200"]);
        let said = stderr(&output);
        // 50 of warm-up and 100 of training; as many as there were before the first update.
        for part in ["150 transitions was not stored", "50 are collected"] {
            assert!(said.contains(part), "no `{part}` in {said}");
        }
        assert!(!folder.join(run).join("replay").exists());
    }
    assert_same(&folder.join("run"), &folder.join("again"));
    let lines = log(&folder.join("run"));
    let steps: Vec<_> = lines.iter().map(|line| line["step"].as_u64()).collect();
    let expected: Vec<_> = (1..=20).map(|n| Some(10 * n)).collect();
    assert_eq!(steps, expected, "steps that fill the buffer do not count");
    assert_eq!(lines[19]["update"], 40);
    // Once more, now with what the resumed run has stored: 150 + 50 + 100, of which it held 150.
    let output = trains(folder, &["train", "--resume", "run", "--steps", "210"]);
    assert!(
        stderr(&output).contains("150 transitions was not stored"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn without_warm_up_a_batch_is_collected() {
    let folder = temporary();
    let folder = folder.path();
    // The environments step while the updates are computed, too.
    for (run, overlap, warmup) in [
        ("strict", "overlap=false", "warmup_steps=0"),
        ("overlapping", "overlap=true", "warmup_steps=16"),
    ] {
        let mut arguments = tiny(&["--out", run, "--set", "replay.store=false"]);
        arguments.extend(["--set", overlap, "--set", warmup]);
        trains(folder, &arguments);
        let output = trains(folder, &["train", "--resume", run, "--steps", "120"]);
        let said = stderr(&output);
        assert!(said.contains(": 16 are collected"), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_warm_up_that_was_interrupted_is_made_anew_without_a_stored_buffer() {
    use rescore_tests::program::signal;
    let folder = temporary();
    let folder = folder.path();
    let more = [
        "--set",
        "replay.store=false",
        "--set",
        "warmup_steps=1000000",
        "--out",
        "run",
    ];
    let mut child = command(folder, &tiny(&more))
        .spawn()
        .expect("the program starts");
    while !folder.join("run/metrics.jsonl").exists() {
        assert!(matches!(child.try_wait(), Ok(None)), "it has ended");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    signal(&child.id().to_string(), &["-TERM"]);
    let status = child.wait().expect("our own child");
    assert_eq!(status.code(), Some(75), "it was still in its warm-up");
    trains(folder, &["train", "--resume", "run"]);
    assert_eq!(log(&folder.join("run")).len(), 10);
}

/// The step is 0 until warm-up has ended, and its end afterwards, whenever the run was interrupted.
#[cfg(unix)]
#[test]
fn a_warm_up_that_counts_and_was_interrupted_goes_on_to_the_same_bytes() {
    use rescore_tests::program::signal;
    let folder = temporary();
    let folder = folder.path();
    let arguments = |out: &'static str| {
        let mut arguments = tiny(&["--algo", "sac", "--steps", "200100", "--out", out]);
        for setting in [
            "count_warmup=true",
            "warmup_steps=200000",
            "replay.capacity=200000",
        ] {
            arguments.extend(["--set", setting]);
        }
        arguments
    };
    trains(folder, &arguments("whole"));
    let mut child = command(folder, &arguments("run"))
        .spawn()
        .expect("the program starts");
    let started = || folder.join("run/metrics.jsonl").exists();
    let mut stopped = 0;
    loop {
        while !started() {
            assert!(matches!(child.try_wait(), Ok(None)), "it has ended");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // In warm-up at first, later at any moment.
        std::thread::sleep(std::time::Duration::from_millis(150 * stopped));
        signal(&child.id().to_string(), &["-TERM"]);
        match child.wait().expect("our own child").code() {
            Some(0) => break,
            // It had no time to heed signals.
            None => {}
            code => assert_eq!(code, Some(75)),
        }
        if stopped == 0 {
            assert_eq!(checkpoints(&folder.join("run")), [0], "in its warm-up");
        }
        stopped += 1;
        assert!(stopped < 40, "it does not get on");
        child = command(folder, &["train", "--resume", "run"])
            .spawn()
            .expect("the program starts");
    }
    assert!(stopped > 0);
    assert_same(&folder.join("whole"), &folder.join("run"));
    let lines = log(&folder.join("run"));
    let of = |key: &str| -> Vec<_> { lines.iter().map(|line| line[key].as_u64()).collect() };
    let steps: Vec<_> = (1..=10).map(|n| Some(200_000 + 10 * n)).collect();
    assert_eq!(of("step"), steps);
    let updates: Vec<_> = (1..=10).map(|n| Some(2 * n)).collect();
    assert_eq!(of("update"), updates);
    // Its end moves the number of updates, of which schedules are fractions, and nothing else.
    trains(folder, &["train", "--resume", "run", "--steps", "200120"]);
    assert_eq!(log(&folder.join("run")).len(), 12);
}

#[test]
fn a_pruned_run_can_be_used_but_not_made_longer() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &tiny(&["--out", "run"]));
    let run = folder.join("run");
    let best: Value =
        serde_json::from_str(&read(&run.join("checkpoints/best.json"))).expect("JSON");
    let best = best["step"].as_u64().expect("a step");
    // One more, so that there is something to remove whichever is the best.
    let extra = [70_u64, 90]
        .into_iter()
        .find(|step| !checkpoints(&run).contains(step));
    let extra = extra.expect("at most three are kept");
    copy(
        &run.join("checkpoints/100"),
        &run.join(format!("checkpoints/{extra}")),
    );
    let results = || {
        let mut results = Vec::new();
        for checkpoint in ["best", "100"] {
            let output = rescore(
                folder,
                &["eval", "run", "--checkpoint", checkpoint, "--json"],
            );
            assert!(output.status.success(), "{}", stderr(&output));
            results.push(stdout(&output));
        }
        results
    };
    let (played, before, files) = (results(), lengths(&run), contents(&run));

    let dry = rescore(folder, &["prune", "run", "--dry-run"]);
    assert!(dry.status.success(), "{}", stderr(&dry));
    assert!(stdout(&dry).contains("would be freed"), "{}", stdout(&dry));
    assert_eq!(contents(&run), files);

    let output = rescore(folder, &["prune", "run", "./run"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let after = lengths(&run);
    let sum = |files: &BTreeMap<PathBuf, u64>| files.values().sum::<u64>();
    let freed = sum(&before) + after[&run.join("PRUNED")] - sum(&after);
    let said = stdout(&output);
    assert!(
        freed > 0 && said.contains(&format!("{freed} bytes")),
        "{freed}: {said}"
    );
    assert!(said.ends_with(" freed\n"), "{said}");
    let mut kept = vec![best, 100];
    kept.dedup();
    assert_eq!(checkpoints(&run), kept);
    assert!(!run.join("replay").exists());
    for name in ["config.toml", "metrics.jsonl", "eval.csv", "DONE"] {
        assert_eq!(after[&run.join(name)], before[&run.join(name)], "{name}");
    }

    assert_eq!(results(), played);
    let plot = rescore(folder, &["plot", "run", "--out", "run/curve.png"]);
    assert!(plot.status.success(), "{}", stderr(&plot));
    let done = rescore(folder, &["train", "--resume", "run"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let longer = ["train", "--resume", "run", "--steps", "200"];
    fails(
        folder,
        &longer,
        2,
        &["was pruned", "it lacks the replay buffer"],
    );
    // The folder stands for the runs in it.
    let again = rescore(folder, &["prune", "."]);
    assert!(stdout(&again).contains("0 bytes freed") || stdout(&again).contains("(0 bytes) freed"));
}

#[test]
fn nothing_is_pruned_that_is_needed() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &tiny(&["--out", "finished"]));
    trains(folder, &tiny(&["--out", "unfinished"]));
    fs::remove_file(folder.join("unfinished/DONE")).expect("there");
    trains(folder, &tiny(&["--out", "damaged"]));
    let agent = folder.join("damaged/checkpoints/100/agent.safetensors");
    let mut bytes = fs::read(&agent).expect("there");
    let last = bytes.last_mut().expect("not empty");
    *last ^= 1;
    fs::write(&agent, bytes).expect("writable");
    fs::create_dir(folder.join("notes")).expect("writable");
    let runs = ["finished", "unfinished", "damaged", "notes"];
    let all = || runs.map(|run| contents(&folder.join(run)));
    let before = all();
    for (other, code, complaint) in [
        ("unfinished", 2, "has not finished"),
        ("damaged", 74, "SHA-256"),
        ("notes", 2, "holds no run"),
        (".", 74, "SHA-256"),
        ("nothing", 74, "nothing"),
    ] {
        fails(folder, &["prune", "finished", other], code, &[complaint]);
    }
    let lock = fs::File::open(folder.join("finished/LOCK")).expect("there");
    lock.lock().expect("free");
    fails(folder, &["prune", "finished"], 73, &["is held by"]);
    drop(lock);
    assert_eq!(all(), before);
}
