//! Sweeps: many runs that are planned together, here and under schedulers; and `train --seeds`.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rescore_tests::program::{
    command, fails, read, rescore, signal, skipped, stderr, stdout, tiny, tiny_table, trains,
};
use rescore_tests::runs::{assert_same, contents};
use serde_json::Value;

/// Long enough for any machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_mins(3);

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A sweep of SAC on Pendulum-v1 with tiny settings and these lines of its table `[set]`.
fn sweep(seeds: &str, steps: u64, set: &str) -> String {
    format!(
        "algorithms = [\"sac\"]\ntasks = [\"Pendulum-v1\"]\nseeds = {seeds}\nsteps = {steps}\n\n\
         [set]\n{}{set}",
        tiny_table()
    )
}

/// Plans `text` into the folder `sweep` below `folder`.
fn plan(folder: &Path, text: &str) {
    fs::write(folder.join("sweep.toml"), text).expect("writable");
    let output = rescore(folder, &["sweep", "plan", "sweep.toml", "--out", "sweep"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).trim(), "sweep");
}

fn waits_until(mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn end_of(child: &mut Child) -> ExitStatus {
    let ended = waits_until(|| matches!(child.try_wait(), Ok(Some(_))));
    if !ended {
        child.kill().expect("it has not ended");
    }
    assert!(ended, "the program does not end");
    child.wait().expect("it has ended")
}

/// `sweep run sweep` with `more`, leader of a process group of its own.
fn start(folder: &Path, more: &[&str]) -> Child {
    command(folder, &[&["sweep", "run", "sweep"], more].concat())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Sends a signal to the process group that `child` leads.
fn signal_group(child: &Child, name: &str) {
    assert!(signal(&format!("-{}", child.id()), &[name]));
}

/// The state of each run, as `sweep status --json` says.
fn status(folder: &Path) -> Vec<Value> {
    let output = rescore(folder, &["sweep", "status", "sweep", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    rows.as_array().expect("an array").clone()
}

fn states(folder: &Path) -> Vec<String> {
    let state = |row: &Value| row["state"].as_str().expect("a state").to_owned();
    status(folder).iter().map(state).collect()
}

/// The run folders of the sweep, by number.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let path = |row: &Value| folder.join(row["path"].as_str().expect("a path"));
    status(folder).iter().map(path).collect()
}

/// Every file of the sweep with its bytes and the time of its last change.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files = Vec::new();
    let mut left = vec![folder.join("sweep")];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(&path).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let bytes = fs::read(&path).expect("readable");
            files.push((path, bytes, changed.expect("a time")));
        }
    }
    files.sort();
    files
}

#[test]
fn a_sweep_that_is_killed_ends_in_the_bytes_of_its_runs_made_alone() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[0, 3]", 400, "gamma = [0.9, 0.97]\n"));
    assert_eq!(states(folder), ["not_started"; 4]);
    let collected = |name: &str| {
        let output = rescore(folder, &["sweep", "collect", "sweep"]);
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        let lines: Vec<_> = stdout(&output).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 5, "{name}: {lines:?}");
        lines
    };
    for line in &collected("before")[1..] {
        assert!(
            line.ends_with(",not started,400,missing,missing,missing"),
            "{line}"
        );
    }
    // Once in the middle of the first runs, and then at no particular moment.
    let begun = |number: usize| {
        let run = &folders(folder)[number];
        let checkpoints = fs::read_dir(run.join("checkpoints"));
        checkpoints.is_ok_and(|entries| entries.count() > 0)
    };
    let mut child = start(folder, &["--jobs", "2"]);
    assert!(waits_until(|| begun(0) && begun(1)), "it does not begin");
    signal_group(&child, "-KILL");
    assert!(end_of(&mut child).code().is_none());
    assert!(waits_until(
        || !states(folder).contains(&"running".to_owned())
    ));
    assert!(
        states(folder).contains(&"not_started".to_owned()),
        "{:?}",
        states(folder)
    );
    for kill in 1..4 {
        let mut child = start(folder, &["--jobs", "2"]);
        std::thread::sleep(Duration::from_millis(150 * kill));
        // It may have ended by itself.
        let _ = signal(&format!("-{}", child.id()), &["-KILL"]);
        end_of(&mut child);
    }
    let output = rescore(folder, &["sweep", "run", "sweep", "--jobs", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(states(folder), ["done"; 4]);
    let runs = folders(folder);
    for (run, (gamma, seed)) in runs.iter().zip([
        ("gamma=0.9", "0"),
        ("gamma=0.9", "3"),
        ("gamma=0.97", "0"),
        ("gamma=0.97", "3"),
    ]) {
        let out = format!("alone/{gamma}-{seed}");
        let options = ["--algo", "sac", "--seed", seed, "--set", gamma];
        trains(
            folder,
            &tiny(&[&options, &["--steps", "400", "--out", &out][..]].concat()),
        );
        assert_same(&folder.join(&out), run);
    }
    // Again, it is all done: nothing is touched.
    let before = snapshot(folder);
    let output = rescore(folder, &["sweep", "run", "sweep", "--jobs", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 4);
    assert!(
        snapshot(folder) == before,
        "a sweep that is done was changed"
    );
    let output = rescore(folder, &["sweep", "run", "sweep", "--index", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output)
            .trim()
            .ends_with("sweep/0002-sac-Pendulum-v1-s0")
    );
    // What is collected is in the evaluations.
    let lines = collected("after");
    assert!(
        lines[0].starts_with("run,folder,algorithm,task,seed,"),
        "{}",
        lines[0]
    );
    assert!(lines[0].ends_with(",state,planned_steps,step,final_return,best_return"));
    let evaluations = read(&runs[0].join("eval.csv"));
    let last = evaluations
        .lines()
        .last()
        .and_then(|row| row.split(',').nth(2));
    let final_return: f64 = last.expect("a return").parse().expect("a number");
    let cells: Vec<_> = lines[1].rsplit(',').take(3).collect();
    assert!((cells[1].parse::<f64>().expect("a number") - final_return).abs() < 1e-9);
    assert_eq!(cells[2], "400");
    let shown = stdout(&rescore(folder, &["sweep", "status", "sweep"]));
    let counts = "4 runs: 4 done, 0 running, 0 stopped, 0 failed, 0 not started";
    assert_eq!(shown.lines().last(), Some(counts));
    // The runs are ordinary ones.
    trains(folder, &["report", "sweep", "--out", "report"]);
    let run = runs[1].to_str().expect("text");
    trains(folder, &["eval", run, "--episodes", "1"]);
    trains(folder, &["train", "--resume", run]);
}

#[test]
fn a_signal_stops_all_runs_after_a_checkpoint_and_the_last_line_goes_on() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[0, 1, 2]", 2000, ""));
    let begun = |number: usize| {
        let run = &folders(folder)[number];
        fs::metadata(run.join("metrics.jsonl")).is_ok_and(|file| file.len() > 0)
    };
    // To the group, as a terminal does, and to the first process alone, as a scheduler may.
    for to_group in [true, false] {
        let mut child = start(folder, &["--jobs", "2"]);
        assert!(waits_until(|| begun(0) && begun(1)), "it does not begin");
        // The runs that go on have a log already: into their next steps.
        std::thread::sleep(Duration::from_millis(200));
        if to_group {
            signal_group(&child, "-TERM");
        } else {
            assert!(signal(&child.id().to_string(), &["-TERM"]));
        }
        assert_eq!(end_of(&mut child).code(), Some(75), "{to_group}");
        let output = child.wait_with_output().expect("it has ended");
        let said = stderr(&output);
        let line = said.lines().last().expect("a command");
        assert!(line.ends_with(" sweep run sweep --jobs 2"), "{said}");
        let found = states(folder);
        assert!(!found.contains(&"running".to_owned()), "{found:?}");
        assert_eq!(found[2], "not_started");
    }
    let child = start(folder, &["--jobs", "2"]);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(states(folder), ["done"; 3]);
    // Log files say what children said.
    assert!(folder.join("sweep/logs/0002.log").is_file());
}

/// Children stop when the first process is gone, and who comes next waits for them.
#[test]
fn whoever_comes_next_waits_for_a_run_that_is_about_to_end() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[0, 1]", 3000, ""));
    let mut child = start(folder, &["--jobs", "2"]);
    let is_running = || states(folder).iter().all(|state| state == "running");
    assert!(waits_until(is_running), "it does not begin");
    child.kill().expect("our own child");
    end_of(&mut child);
    let child = start(folder, &["--jobs", "2"]);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(states(folder), ["done"; 2]);

    // A holder that does not end is an error at last.
    let long = folder.join("long");
    fs::create_dir(&long).expect("writable");
    plan(
        &long,
        &sweep("[0]", 100_000_000, "\"evaluation.max_steps\" = 20\n"),
    );
    let mut holder = start(&long, &["--index", "0"]);
    assert!(
        waits_until(|| states(&long) == ["running"]),
        "it does not begin"
    );
    let detail = status(&long)[0]["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(
        detail.split(" on ").next(),
        Some(&*format!("process {}", holder.id()))
    );
    let run = ["sweep", "run", "sweep", "--index", "0", "--wait", "0"];
    fails(&long, &run, 73, &["is held by process"]);
    let run = ["sweep", "run", "sweep", "--jobs", "1", "--wait", "1"];
    fails(
        &long,
        &run,
        73,
        &["run 0: another process holds its folder"],
    );
    let mut next = start(&long, &["--index", "0"]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(matches!(next.try_wait(), Ok(None)), "it did not wait");
    assert!(signal(&holder.id().to_string(), &["-TERM"]));
    assert_eq!(end_of(&mut holder).code(), Some(75));
    let name = format!("process {}", next.id());
    let has_it = || read(&folders(&long)[0].join("LOCK")).contains(&name);
    assert!(waits_until(has_it), "it does not get the run");
    assert!(waits_until(|| read(
        &folders(&long)[0].join("manifest.json")
    )
    .contains("resumed")));
    assert!(signal(&next.id().to_string(), &["-TERM"]));
    assert_eq!(end_of(&mut next).code(), Some(75));
    assert_eq!(states(&long), ["stopped"]);
}

#[test]
fn the_number_of_a_run_comes_from_the_scheduler() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[5, 6, 7]", 60, ""));
    let run = |variables: &[(&str, &str)]| {
        let mut command = command(folder, &["sweep", "run", "sweep"]);
        command.env_remove("SLURM_ARRAY_TASK_ID");
        command.env_remove("JOB_COMPLETION_INDEX");
        command.envs(variables.iter().copied());
        command.output().expect("the program starts")
    };
    let output = run(&[("SLURM_ARRAY_TASK_ID", "1"), ("JOB_COMPLETION_INDEX", "2")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output).trim(), "sweep/0001-sac-Pendulum-v1-s6");
    assert_eq!(states(folder), ["not_started", "done", "not_started"]);
    let output = run(&[("JOB_COMPLETION_INDEX", "2")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(states(folder), ["not_started", "done", "done"]);
    for (variables, messages) in [
        (&[][..], ["neither --index nor --jobs", "--jobs N"]),
        (
            &[("SLURM_ARRAY_TASK_ID", "4-7")],
            ["SLURM_ARRAY_TASK_ID is `4-7`", "--index I"],
        ),
        (
            &[("JOB_COMPLETION_INDEX", "3")],
            ["there is no run 3 in sweep", "the runs 0 to 2"],
        ),
    ] {
        let output = run(variables);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        for message in messages {
            assert!(stderr(&output).contains(message), "{}", stderr(&output));
        }
    }
}

#[test]
fn what_is_no_sweep_is_refused_before_anything_is_written() {
    let folder = temporary();
    let folder = folder.path();
    let good = sweep("[0, 1]", 60, "");
    let refuses = |text: &str, messages: &[&str]| {
        fs::write(folder.join("bad.toml"), text).expect("writable");
        let arguments = ["sweep", "plan", "bad.toml", "--out", "bad"];
        fails(folder, &arguments, 2, messages);
        assert!(!folder.join("bad").exists(), "something was created");
    };
    for (from, to, messages) in [
        (
            "[0, 1]",
            "[]",
            ["bad.toml:3:1", "`seeds` is an empty list", "hint: "],
        ),
        (
            "[0, 1]",
            "[0, 0]",
            ["runs 0 and 1 are the same", "seed 0", "stands twice"],
        ),
        (
            "\"sac\"",
            "\"sca\"",
            ["bad.toml:1:1", "unknown algorithm `sca`", "sac"],
        ),
        (
            "Pendulum-v1",
            "Pendulum-v2",
            ["bad.toml:2:1", "unknown task", "`Pendulum-v1`"],
        ),
        (
            "seeds",
            "sedes",
            ["bad.toml:3:1", "unknown key `sedes`", "`seeds`"],
        ),
        (
            "\"log_every\"",
            "\"log_evry\"",
            ["unknown key `log_evry`", "log_every", "on Pendulum-v1"],
        ),
        (
            "steps = 60",
            "steps = 0",
            ["bad.toml:4:1", "`steps` is 0", "from 1"],
        ),
        (
            "[set]",
            "preset = \"larg\"\n[set]",
            ["unknown preset `larg`", "small", "hint: "],
        ),
        (
            "[[16, 16]]",
            "[16, 16]",
            ["hidden_dims", "hint: ", "write [[16, 16]]"],
        ),
    ] {
        assert!(good.contains(from), "{from}");
        refuses(&good.replace(from, to), &messages);
    }
}

#[test]
fn a_folder_holds_one_sweep_and_a_run_is_one_of_its_numbers() {
    let folder = temporary();
    let folder = folder.path();
    let good = sweep("[0, 1]", 60, "");
    let plan_into = |out: &'static str| ["sweep", "plan", "sweep.toml", "--out", out];
    fails(folder, &plan_into("none"), 74, &["sweep.toml"]);
    plan(folder, &good);
    // The same sweep once more is the same plan.
    plan(folder, &good);
    let before = snapshot(folder);
    fs::write(folder.join("sweep.toml"), sweep("[0, 2]", 60, "")).expect("writable");
    fails(
        folder,
        &plan_into("sweep"),
        2,
        &["holds another sweep, of 2 runs", "another folder"],
    );
    assert!(snapshot(folder) == before, "the plan was changed");
    fs::create_dir(folder.join("theirs")).expect("writable");
    fs::write(folder.join("theirs/precious"), "mine").expect("writable");
    fails(
        folder,
        &plan_into("theirs"),
        2,
        &["holds precious", "a folder of its own"],
    );
    for command in ["run", "status", "collect"] {
        let arguments = ["sweep", command, "theirs"];
        fails(
            folder,
            &arguments,
            2,
            &["theirs holds no sweep", "sweep plan"],
        );
    }
    for format in ["slurm", "k8s"] {
        fails(
            folder,
            &["sweep", "emit", format, "theirs"],
            2,
            &["holds no sweep"],
        );
    }
    for (options, message) in [
        (&["--index", "2"][..], "there is no run 2"),
        (&["--jobs", "0"], "--jobs"),
        (&["--jobs", "1", "--index", "0"], "--index"),
        (&["--index=-1"], "--index"),
    ] {
        let arguments = [&["sweep", "run", "sweep"], options].concat();
        fails(folder, &arguments, 2, &[message]);
    }
    assert!(
        snapshot(folder) == before,
        "a refusal left something behind"
    );
}

#[test]
fn another_run_in_the_place_of_one_is_left_alone() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[0, 1]", 60, ""));
    let runs = folders(folder);
    let place = runs[0].to_str().expect("text");
    trains(
        folder,
        &tiny(&[
            "--algo", "sac", "--steps", "60", "--seed", "4", "--out", place,
        ]),
    );
    let before = contents(&runs[0]);
    let words = [
        "holds another run than run 0 of the sweep: `seed` is 4, but 0 in the plan",
        "hint: move that folder away",
    ];
    fails(
        folder,
        &["sweep", "run", "sweep", "--index", "0"],
        2,
        &words,
    );
    // The other run is made all the same.
    fails(
        folder,
        &["sweep", "run", "sweep", "--jobs", "2"],
        2,
        &["1 of 2 runs failed", words[0]],
    );
    assert_eq!(states(folder), ["failed", "done"]);
    let collected = stdout(&rescore(folder, &["sweep", "collect", "sweep"]));
    let row = collected.lines().nth(1).expect("a row");
    assert!(row.ends_with("failed,60,missing,missing,missing"), "{row}");
    assert!(contents(&runs[0]) == before);
    // So is a run that another version began, and a plan of another version.
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let becomes_old = |path: &Path| {
        let text = read(path);
        assert!(text.contains(&version), "{text}");
        fs::write(path, text.replace(&version, "\"version\": \"0.0.1\"")).expect("writable");
    };
    becomes_old(&runs[1].join("manifest.json"));
    let run = ["sweep", "run", "sweep", "--index", "1"];
    fails(folder, &run, 2, &["version 0.0.1 of the program began it"]);
    becomes_old(&folder.join("sweep/plan/plan.json"));
    fails(
        folder,
        &run,
        2,
        &["was planned by version 0.0.1", "go on with version 0.0.1"],
    );
    let config = folder.join("sweep/plan/0001.toml");
    fs::write(&config, read(&config).replace("seed = 1", "seed = 2")).expect("writable");
    let plan = folder.join("sweep/plan/plan.json");
    fs::write(
        &plan,
        read(&plan).replace("\"version\": \"0.0.1\"", &version),
    )
    .expect("writable");
    fails(folder, &run, 74, &["0001.toml is damaged", "as planned"]);
}

/// One run diverges, the other does not; the reason stays until the run goes on.
#[test]
fn a_run_that_fails_is_told_and_the_others_are_made() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[0]", 100, "lr = [1e-3, 1e30]\n"));
    let said = [
        "1 of 2 runs failed, 1 are done",
        "run 1: ",
        "hint: sweep/logs has",
    ];
    fails(folder, &["sweep", "run", "sweep", "--jobs", "2"], 1, &said);
    assert_eq!(states(folder), ["done", "failed"]);
    let detail = status(folder)[1]["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(detail.contains(" at step "), "{detail}");
    assert!(read(&folder.join("sweep/logs/0001.log")).contains(&detail));
    let shown = stdout(&rescore(folder, &["sweep", "status", "sweep"]));
    assert!(shown.contains(&detail), "{shown}");
    let output = rescore(folder, &["sweep", "run", "sweep", "--index", "1"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}

/// The program `name` below `folder`, with this text.
fn script(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(folder).expect("writable");
    fs::write(&path, text).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its owner");
}

/// The script that `sweep emit slurm` prints, as a file.
fn emitted(folder: &Path) -> PathBuf {
    let output = rescore(folder, &["sweep", "emit", "slurm", "sweep"]);
    assert!(output.status.success(), "{}", stderr(&output));
    script(folder, "job.sh", &stdout(&output));
    folder.join("job.sh")
}

/// With programs in the place of SLURM's: what the script does with signals and exit codes.
#[test]
fn the_script_for_slurm_requeues_a_run_that_was_warned_and_no_other() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[0, 1]", 4000, ""));
    let job = emitted(folder);
    let text = read(&job);
    let checked = Command::new("bash").arg("-n").arg(&job).output();
    let checked = checked.expect("bash exists");
    assert!(
        checked.status.success() && checked.stderr.is_empty(),
        "{checked:?}"
    );
    assert!(text.contains("\n#SBATCH --array=0-1\n"), "{text}");
    assert!(text.contains("\n#SBATCH --signal=B:USR1@"), "{text}");
    let fakes = folder.join("fakes");
    let srun = "#!/bin/sh\nwhile [ \"${1#--}\" != \"$1\" ]; do shift; done\nexec \"$@\"\n";
    script(&fakes, "srun", srun);
    let requeued = folder.join("requeued");
    script(
        &fakes,
        "scontrol",
        &format!("#!/bin/sh\necho \"$@\" >> '{}'\n", requeued.display()),
    );
    let path = std::env::var("PATH").unwrap_or_default();
    let start = || {
        Command::new("bash")
            .arg(&job)
            .env("PATH", format!("{}:{path}", fakes.display()))
            .env("SLURM_ARRAY_JOB_ID", "7")
            .env("SLURM_ARRAY_TASK_ID", "1")
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash starts")
    };
    let run = folders(folder).remove(1);
    let manifest = || fs::read_to_string(run.join("manifest.json")).unwrap_or_default();
    let logged = || fs::metadata(run.join("metrics.jsonl")).map_or(0, |file| file.len());
    let (mut before, mut length) = (manifest(), 0);
    for (name, times) in [("-USR1", 1), ("-USR1", 2), ("-TERM", 2)] {
        let mut child = start();
        assert!(
            waits_until(|| manifest() != before && logged() > length),
            "it does not go on"
        );
        assert!(signal(&child.id().to_string(), &[name]));
        assert_eq!(end_of(&mut child).code(), Some(75), "{name}");
        (before, length) = (manifest(), logged());
        // Whoever cancels a job does not want it again.
        let lines = fs::read_to_string(&requeued).unwrap_or_default();
        assert_eq!(lines, "requeue 7_1\n".repeat(times), "{name}");
    }
    assert_eq!(states(folder), ["not_started", "stopped"]);
    let mut child = start();
    assert_eq!(end_of(&mut child).code(), Some(0));
    assert_eq!(read(&requeued).lines().count(), 2);
    assert_eq!(states(folder), ["not_started", "done"]);
    // Wrong usage is not tried again.
    fs::remove_dir_all(folder.join("sweep/plan")).expect("there");
    assert_eq!(end_of(&mut start()).code(), Some(2));
    assert_eq!(read(&requeued).lines().count(), 2);
}

#[test]
fn the_job_for_kubernetes_has_an_index_a_run() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[0, 1, 2]", 60, ""));
    let output = rescore(
        folder,
        &["sweep", "emit", "k8s", "sweep", "--image", "here/it:1"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for line in [
        "kind: Job",
        "completionMode: Indexed",
        "completions: 3",
        "- action: FailJob",
        "values: [2]",
        "- action: Ignore",
        "values: [75]",
        "- type: DisruptionTarget",
        "image: \"here/it:1\"",
    ] {
        assert!(
            text.lines().any(|found| found.trim() == line),
            "no `{line}` in {text}"
        );
    }
    fs::write(folder.join("job.yaml"), text).expect("writable");
    // It is read as a job by Kubernetes' own program, which asks no cluster for this.
    let output = Command::new("kubectl")
        .args([
            "annotate", "--local", "-f", "job.yaml", "read=yes", "-o", "json",
        ])
        .current_dir(folder)
        .output();
    let Ok(output) = output else {
        skipped("there is no `kubectl` that reads the manifest");
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let job: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(job["spec"]["completions"], 3);
    let rules = &job["spec"]["podFailurePolicy"]["rules"];
    assert_eq!(rules[0]["onExitCodes"]["values"][0], 2);
    assert_eq!(rules[1]["action"], "Ignore");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(pod["containers"][0]["command"][3], "/sweep");
}

#[test]
fn seeds_are_the_runs_that_they_are_alone() {
    let folder = temporary();
    let folder = folder.path();
    let seeds = |more: &[&'static str]| {
        tiny(&[&["--algo", "sac", "--seed", "4", "--seeds", "3"], more].concat())
    };
    let output = trains(folder, &seeds(&["--out", "all"]));
    assert_eq!(stdout(&output), "all/s4\nall/s5\nall/s6\n");
    for seed in ["4", "5", "6"] {
        let out = format!("alone-{seed}");
        trains(
            folder,
            &tiny(&["--algo", "sac", "--seed", seed, "--out", &out]),
        );
        assert_same(&folder.join(out), &folder.join(format!("all/s{seed}")));
    }
    // Once more they are done; without --continue they are refused, before the first begins.
    let before = contents(&folder.join("all"));
    let output = trains(folder, &seeds(&["--out", "all", "--continue"]));
    assert_eq!(stdout(&output).lines().count(), 3);
    assert!(contents(&folder.join("all")) == before);
    fs::remove_dir_all(folder.join("all/s4")).expect("there");
    fails(
        folder,
        &seeds(&["--out", "all"]),
        2,
        &["all/s5 exists and is not empty"],
    );
    assert!(!folder.join("all/s4").exists());
    fails(
        folder,
        &seeds(&["--out", "alone-4"]),
        2,
        &["alone-4 is the folder of a run", "--seeds"],
    );
    // Without --out each has a fresh folder.
    let output = trains(
        folder,
        &tiny(&["--algo", "sac", "--seeds", "2", "--steps", "20"]),
    );
    let lines = stdout(&output);
    let lines: Vec<_> = lines.lines().collect();
    assert!(
        lines[0].starts_with("runs/sac-Pendulum-v1-s0-"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("runs/sac-Pendulum-v1-s1-"),
        "{lines:?}"
    );
    for (options, message) in [
        (&["--seeds", "0"][..], "--seeds"),
        (
            &["--seeds", "2", "--seed", "9223372036854775807"],
            "not so many seeds",
        ),
        (&["--seeds", "2", "--resume", "all/s5"], "--seeds"),
    ] {
        let arguments = [&["train", "--env", "Pendulum-v1"], options].concat();
        fails(folder, &arguments, 2, &[message]);
    }
}

/// A signal ends the seed at hand after a checkpoint; the same command goes on with all.
#[test]
fn seeds_go_on_where_they_were_stopped() {
    let folder = temporary();
    let folder = folder.path();
    let seeds = tiny(&[
        "--algo",
        "sac",
        "--seeds",
        "2",
        "--steps",
        "2000",
        "--out",
        "all",
        "--continue",
    ]);
    let mut child = command(folder, &seeds)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let log = folder.join("all/s0/metrics.jsonl");
    assert!(waits_until(
        || fs::metadata(&log).is_ok_and(|file| file.len() > 0)
    ));
    assert!(signal(&child.id().to_string(), &["-TERM"]));
    assert_eq!(end_of(&mut child).code(), Some(75));
    let output: Output = child.wait_with_output().expect("it has ended");
    assert!(
        stderr(&output).contains("seeds 1 to 1 have not begun"),
        "{}",
        stderr(&output)
    );
    assert!(!folder.join("all/s1").exists());
    let output = trains(folder, &seeds);
    assert_eq!(stdout(&output), "all/s0\nall/s1\n");
    for seed in ["0", "1"] {
        let out = format!("alone-{seed}");
        let options = [
            "--algo", "sac", "--steps", "2000", "--seed", seed, "--out", &out,
        ];
        trains(folder, &tiny(&options));
        assert_same(&folder.join(&out), &folder.join(format!("all/s{seed}")));
    }
}

/// What SLURM of one node needs. Ports, folders and whether there is a service that tells users apart
/// are its own, so that it disturbs no other.
fn slurm_conf(folder: &Path) -> String {
    let port = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").port()
    };
    let host = Command::new("hostname")
        .arg("-s")
        .output()
        .expect("hostname");
    let (host, at) = (stdout(&host), folder.display());
    let host = host.trim();
    format!(
        "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\n\
         AuthType=auth/none\nCredType=cred/none\nSlurmctldPort={}\nSlurmdPort={}\n\
         StateSaveLocation={at}/state\nSlurmdSpoolDir={at}/spool\n\
         SlurmctldPidFile={at}/slurmctld.pid\nSlurmdPidFile={at}/slurmd.pid\n\
         SlurmctldLogFile={at}/slurmctld.log\nSlurmdLogFile={at}/slurmd.log\n\
         ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
         JobAcctGatherType=jobacct_gather/none\nMpiDefault=none\nReturnToService=2\n\
         SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\n\
         PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n\
         NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN\n\
         PartitionName=low Nodes={host} Default=YES State=UP PriorityTier=1 GraceTime=20\n\
         PartitionName=high Nodes={host} State=UP PriorityTier=10 PreemptMode=OFF\n",
        port(),
        port()
    )
}

/// A SLURM of one node for as long as it lives.
struct Slurm {
    folder: tempfile::TempDir,
}

impl Slurm {
    fn start() -> Self {
        let slurm = Self {
            folder: temporary(),
        };
        let at = slurm.folder.path();
        fs::create_dir(at.join("state")).expect("writable");
        fs::create_dir(at.join("spool")).expect("writable");
        fs::write(at.join("slurm.conf"), slurm_conf(at)).expect("writable");
        slurm.run("slurmctld", &[]);
        slurm.run("slurmd", &[]);
        assert!(waits_until(|| slurm
            .run("sinfo", &["-h", "-o", "%t"])
            .contains("idle")));
        slurm
    }

    /// What the program `name` prints.
    fn run(&self, name: &str, arguments: &[&str]) -> String {
        let output = Command::new(name)
            .args(arguments)
            .env("SLURM_CONF", self.folder.path().join("slurm.conf"))
            .output()
            .expect("SLURM is installed");
        stdout(&output)
    }

    /// How often the element of an array was requeued.
    fn restarts(&self, element: &str) -> u32 {
        let shown = self.run("scontrol", &["show", "job", element]);
        let restarts = shown
            .split_whitespace()
            .find_map(|word| word.strip_prefix("Restarts="));
        restarts
            .and_then(|restarts| restarts.parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        self.run("scancel", &["--user=root"]);
        for name in ["slurmd.pid", "slurmctld.pid"] {
            let pid = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            if !pid.trim().is_empty() {
                signal(pid.trim(), &["-TERM"]);
            }
        }
    }
}

/// On a SLURM of its own: an element that is warned, and one that is pre-empted, checkpoint, are
/// requeued and end in the bytes of the run made alone; one that is cancelled stays away.
///
/// By hand, as root: `apt-get install slurmctld slurmd slurm-client`, which `RESCORE_INSTALL_SLURM=1`
/// does, and `cargo xtask test sweep`'s program with `--ignored`.
#[test]
#[ignore = "starts SLURM, which it installs where RESCORE_INSTALL_SLURM is set"]
fn a_job_array_of_slurm_goes_on_after_warnings_and_preemption() {
    if std::env::var_os("RESCORE_INSTALL_SLURM").is_some() {
        let install = "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client";
        let installed = Command::new("sh").args(["-c", install]).status();
        assert!(installed.is_ok_and(|status| status.success()), "{install}");
    }
    if Command::new("slurmctld").arg("-V").output().is_err() {
        skipped("there is no SLURM");
        return;
    }
    let folder = temporary();
    let folder = folder.path();
    plan(
        folder,
        &sweep("[0, 1, 2]", 20_000, "\"evaluation.max_steps\" = 20\n"),
    );
    let slurm = Slurm::start();
    let job = emitted(folder);
    let job = job.to_str().expect("text");
    let submit = |elements: &str| {
        let array = format!("--array={elements}");
        let options = [
            "--parsable",
            "--cpus-per-task=1",
            "--partition=low",
            &array,
            job,
        ];
        slurm.run("sbatch", &options).trim().to_owned()
    };
    let begins = |index: usize| {
        let log = folders(folder)[index].join("metrics.jsonl");
        let has_begun = || {
            let is_there = fs::metadata(&log).is_ok_and(|file| file.len() > 0);
            is_there && states(folder)[index] == "running"
        };
        assert!(waits_until(has_begun), "run {index} does not begin");
    };
    let array = submit("0-1");
    let element = |index: usize| format!("{array}_{index}");
    begins(0);
    slurm.run("scancel", &["--signal=USR1", "--batch", &element(0)]);
    assert!(
        waits_until(|| slurm.restarts(&element(0)) == 1),
        "it is not requeued"
    );
    begins(1);
    // Both processors for a job that comes before it.
    let urgent = [
        "--partition=high",
        "--cpus-per-task=2",
        "--wrap=true",
        "--output=/dev/null",
    ];
    slurm.run("sbatch", &urgent);
    assert!(
        waits_until(|| slurm.restarts(&element(1)) == 1),
        "it is not requeued"
    );
    for index in 0..2 {
        assert_eq!(states(folder)[index], "stopped");
        let goes_on = || {
            // SLURM would wait for two minutes.
            let now = format!("jobid={}", element(index));
            slurm.run("scontrol", &["update", &now, "starttime=now"]);
            states(folder)[index] == "done"
        };
        assert!(waits_until(goes_on), "{:?}", states(folder));
        let out = format!("alone-{index}");
        let seed = index.to_string();
        let options = [
            "--algo", "sac", "--steps", "20000", "--seed", &seed, "--out", &out,
        ];
        let setting = ["--set", "evaluation.max_steps=20"];
        trains(folder, &tiny(&[&options, &setting[..]].concat()));
        assert_same(&folder.join(&out), &folders(folder)[index]);
    }
    let array = submit("2");
    begins(2);
    slurm.run("scancel", &[&array]);
    assert!(
        waits_until(|| states(folder)[2] == "stopped"),
        "it does not stop"
    );
    assert!(waits_until(|| slurm
        .run("squeue", &["-h"])
        .trim()
        .is_empty()));
    assert_eq!(slurm.restarts(&format!("{array}_2")), 0);
}
