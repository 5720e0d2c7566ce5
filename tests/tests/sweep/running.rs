//! Sweeps that are made, stopped, killed and gone on with.

use std::fs;
use std::time::Duration;

use rescore_tests::program::{
    command, end_of, fails, read, rescore, signal, stderr, stdout, tiny, trains, waits_until,
};
use rescore_tests::runs::assert_same;

use super::{folders, plan, signal_group, snapshot, start, states, status, sweep, temporary};

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

/// Their tables say that they were made with these files.
#[cfg(feature = "mujoco")]
#[test]
fn the_sweeps_of_the_results_can_be_planned() {
    let folder = temporary();
    let sweeps = concat!(env!("CARGO_MANIFEST_DIR"), "/../results/sweeps");
    let mut planned = 0;
    for file in fs::read_dir(sweeps).expect("a folder") {
        let file = file.expect("an entry").path();
        let out = file
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let file = file.to_string_lossy();
        trains(folder.path(), &["sweep", "plan", &file, "--out", &out]);
        planned += 1;
    }
    assert!(planned > 2);
}
