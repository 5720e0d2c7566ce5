//! `watch`: what it prints once, what it shows in a terminal, and that runs do not notice.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use rescore_tests::program::{
    binary, command, end_of, fails, read, rescore, signal, skipped, stderr, stdout, tiny,
    tiny_table, trains, waits_until,
};
use rescore_tests::runs::assert_same;
use serde_json::Value;

fn sac<'a>(more: &[&'a str]) -> Vec<&'a str> {
    tiny(&[&["--algo", "sac"], more].concat())
}

/// A process that does not outlive a test that fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}

/// A run without an end in `out`, once it has logged a few lines.
fn endless(folder: &Path, out: &str) -> Process {
    let child = command(folder, &sac(&["--steps", "100000000", "--out", out]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let log = folder.join(out).join("metrics.jsonl");
    let lines = || fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    let process = Process(child);
    assert!(waits_until(|| lines() > 5), "{out} does not begin");
    process
}

/// Asks a run to stop, which it must do as if nobody had watched.
fn stop(run: &mut Process) {
    let child = &mut run.0;
    assert!(matches!(child.try_wait(), Ok(None)), "the run has ended");
    assert!(signal(&child.id().to_string(), &["-TERM"]));
    assert_eq!(end_of(child).code(), Some(75));
}

/// The rows of `watch --json`, by the name of the folder.
fn rows(folder: &Path, watched: &str) -> BTreeMap<String, Value> {
    let output = rescore(folder, &["watch", watched, "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let name = |row: &Value| {
        let path = Path::new(row["path"].as_str().expect("a path"));
        path.file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let rows = rows.as_array().expect("an array");
    rows.iter().map(|row| (name(row), row.clone())).collect()
}

/// Every file below `folder` with its bytes and the time of its last change.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut files = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(&path).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let bytes = fs::read(&path).expect("readable");
            files.insert(path, (bytes, changed.expect("a time")));
        }
    }
    files
}

#[test]
fn runs_in_every_state_are_printed_once_and_left_as_they_are() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    trains(folder, &sac(&["--seed", "7", "--out", "runs/done"]));
    let damaged = folder.join("runs/damaged");
    fs::create_dir(&damaged).expect("writable");
    fs::write(damaged.join("config.toml"), "algo = = 5\n").expect("writable");
    stop(&mut endless(folder, "runs/stopped"));
    let before = snapshot(&folder.join("runs"));
    let mut running = endless(folder, "runs/running");

    let output = rescore(folder, &["watch", "--once"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert!(lines[0].starts_with("state "), "{text}");
    assert!(
        lines[1].starts_with("failed ")
            && lines[1].contains("(runs/damaged/config.toml is damaged: ")
    );
    assert!(
        lines[2].starts_with("done ") && lines[2].contains(" 100/100 "),
        "{text}"
    );
    assert!(lines[2].ends_with("  runs/done"), "{text}");
    let holder = format!("  runs/running  (process {} on ", running.0.id());
    assert!(
        lines[3].starts_with("running ") && lines[3].contains(&holder),
        "{text}"
    );
    assert!(lines[4].starts_with("stopped "), "{text}");
    let counts = "4 runs: 1 done, 1 running, 1 stopped, 1 failed, 0 not started";
    assert_eq!(lines[5], counts);
    // stdout is no terminal.
    assert!(stdout(&rescore(folder, &["watch", "runs"])).ends_with(&format!("{counts}\n")));

    let rows = rows(folder, "runs");
    let state = |name: &str| rows[name]["state"].as_str().expect("a state");
    assert_eq!(
        ["done", "running", "stopped", "damaged"].map(state),
        ["done", "running", "stopped", "failed"]
    );
    let done = &rows["done"];
    assert_eq!(
        (done["seed"].as_u64(), done["step"].as_u64()),
        (Some(7), Some(100))
    );
    assert_eq!(
        (done["algorithm"].as_str(), done["task"].as_str()),
        (Some("sac"), Some("Pendulum-v1"))
    );
    let table = read(&folder.join("runs/done/eval.csv"));
    let means = table
        .lines()
        .skip(1)
        .filter_map(|row| row.split(',').nth(2)?.parse().ok());
    let means: Vec<f64> = means.collect();
    assert_eq!(done["last_return"].as_f64(), means.last().copied());
    assert_eq!(
        done["best_return"].as_f64(),
        means.iter().copied().reduce(f64::max)
    );
    assert!(done["seconds_left"].is_null());
    for number in ["seconds_left", "env_steps_per_s", "step"] {
        assert!(
            rows["running"][number].as_f64().is_some_and(|n| n > 0.0),
            "{number}"
        );
    }
    let detail = rows["stopped"]["detail"]
        .as_str()
        .expect("where it goes on");
    let step = rows["stopped"]["step"].as_u64().expect("a step");
    assert!(
        detail.ends_with(&format!("the checkpoint of step {step}")),
        "{detail}"
    );

    // One run alone.
    let alone = stdout(&rescore(folder, &["watch", "runs/done", "--once"]));
    assert!(alone.contains("1 runs: 1 done"), "{alone}");
    stop(&mut running);
    fs::remove_dir_all(folder.join("runs/running")).expect("it has ended");
    assert_eq!(snapshot(&folder.join("runs")), before);
}

#[test]
fn planned_runs_are_shown_before_they_begin() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let text = format!(
        "algorithms = [\"sac\"]\ntasks = [\"Pendulum-v1\"]\nseeds = [0, 1]\nsteps = 100\n\n[set]\n{}",
        tiny_table()
    );
    fs::write(folder.join("sweep.toml"), text).expect("writable");
    trains(folder, &["sweep", "plan", "sweep.toml", "--out", "sweep"]);
    trains(folder, &["sweep", "run", "sweep", "--index", "1"]);
    let shown = stdout(&rescore(folder, &["watch", "sweep", "--once"]));
    let status = stdout(&rescore(folder, &["sweep", "status", "sweep"]));
    let counts = "2 runs: 1 done, 0 running, 0 stopped, 0 failed, 1 not started";
    assert_eq!(shown.lines().last(), Some(counts), "{shown}");
    assert_eq!(status.lines().last(), Some(counts), "{status}");
    let row = &rows(folder, "sweep")["0000-sac-Pendulum-v1-s0"];
    assert_eq!(
        (row["state"].as_str(), row["steps"].as_u64()),
        (Some("not_started"), Some(100))
    );
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    fails(
        folder,
        &["watch"],
        2,
        &["error: runs does not exist", "hint: name a run folder"],
    );
    fs::create_dir(folder.join("runs")).expect("writable");
    fs::write(folder.join("file"), "").expect("writable");
    fails(
        folder,
        &["watch", "--once"],
        2,
        &["error: runs holds no run", "hint: a run folder has"],
    );
    fails(folder, &["watch", "file"], 2, &["file is no folder"]);
    for every in ["0", "-1", "nan", "inf", "1e9", "soon"] {
        let option = format!("--every={every}");
        fails(
            folder,
            &["watch", &option],
            2,
            &["expected seconds, from 0.1"],
        );
    }
}

/// `watch` in a terminal of its own, made by `script`.
struct Terminal {
    script: Process,
    folder: PathBuf,
}

fn can_make_terminals() -> bool {
    let probe = Command::new("script").arg("--version").output();
    let can = probe.is_ok_and(|probe| probe.status.success());
    if !can {
        skipped("there is no `script` to make a terminal");
    }
    can
}

impl Terminal {
    /// Watches `runs`, with this text before the command.
    fn open(folder: &Path, environment: &str) -> Self {
        for file in ["typescript", "code"] {
            let _ = fs::remove_file(folder.join(file)); // Of a terminal before.
        }
        let inside = format!(
            "stty rows 40 cols 170; stty -a > before; tty > tty; {environment} \
             sh -c 'echo $$ > pid; exec \"{}\" watch runs --every 0.1'; \
             echo $? > code; stty rows 40 cols 170; stty -a > after",
            binary().display()
        );
        let script = Command::new("script")
            .args(["-q", "-f", "-c", &inside, "typescript"])
            .current_dir(folder)
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("script starts");
        Self {
            script: Process(script),
            folder: folder.to_owned(),
        }
    }

    /// Everything that was written to it so far.
    fn written(&self) -> String {
        let bytes = fs::read(self.folder.join("typescript")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Requires that the word `text` is written after the first `begin` bytes. (Where there is a space
    /// already, none is written.)
    fn shows(&self, begin: usize, text: &str) {
        let there = || {
            self.written()
                .get(begin..)
                .is_some_and(|new| new.contains(text))
        };
        assert!(waits_until(there), "no `{text}` in {:?}", self.written());
    }

    fn press(&mut self, keys: &str) {
        let stdin = self.script.0.stdin.as_mut().expect("it is open");
        stdin.write_all(keys.as_bytes()).expect("script reads");
        stdin.flush().expect("script reads");
    }

    /// Gives it another size, after which everything is drawn anew.
    fn resize(&self, rows: u16, columns: u16) {
        let tty = read(&self.folder.join("tty"));
        let status = Command::new("stty")
            .args([
                "-F",
                tty.trim(),
                "rows",
                &rows.to_string(),
                "cols",
                &columns.to_string(),
            ])
            .status();
        assert!(status.expect("stty exists").success());
    }

    /// Requires that the view ends with `code` and the terminal is as it was before.
    fn ends(mut self, code: &str) {
        assert!(end_of(&mut self.script.0).success());
        assert_eq!(
            read(&self.folder.join("code")).trim(),
            code,
            "{:?}",
            self.written()
        );
        assert_eq!(
            read(&self.folder.join("before")),
            read(&self.folder.join("after"))
        );
        let written = self.written();
        for (hidden, shown) in [
            ("\u{1b}[?25l", "\u{1b}[?25h"),
            ("\u{1b}[?1049h", "\u{1b}[?1049l"),
        ] {
            assert!(written.contains(hidden), "{written:?}");
            assert!(written.rfind(hidden) < written.rfind(shown), "{written:?}");
        }
        assert!(!written.contains("panicked"), "{written:?}");
    }
}

#[test]
fn the_view_follows_runs_that_do_not_notice_and_leaves_the_terminal_as_it_was() {
    if !can_make_terminals() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    fs::create_dir(folder.join("runs")).expect("writable");
    let mut terminal = Terminal::open(folder, "");
    terminal.shows(0, "yet");
    // A run that begins is found.
    let mut running = endless(folder, "runs/endless");
    terminal.shows(0, "Pendulum-v1");
    terminal.shows(0, "38;5;");
    // Runs that begin and end while they are looked at every tenth of a second.
    trains(folder, &sac(&["--out", "alone"]));
    trains(folder, &sac(&["--out", "runs/short"]));
    assert_same(&folder.join("alone"), &folder.join("runs/short"));
    for steps in ["110", "120", "130"] {
        let resume = ["train", "--resume", "runs/short", "--steps", steps];
        trains(folder, &resume);
    }
    for (rows, columns, text) in [(5, 20, "running"), (1, 1, ""), (40, 170, "runs/endless")] {
        let begin = terminal.written().len();
        terminal.resize(rows, columns);
        terminal.shows(begin, text);
    }
    let begin = terminal.written().len();
    terminal.press("jG\u{1b}[A\u{1b}[6~srj");
    terminal.shows(begin, "state)");
    terminal.press("q");
    terminal.ends("0");

    // Other ways to leave; without colours.
    for (keys, name, code) in [
        ("\u{3}", "", "0"),
        ("\u{1b}", "", "0"),
        ("", "-TERM", "143"),
        ("", "-HUP", "129"),
    ] {
        let mut terminal = Terminal::open(folder, "NO_COLOR=1");
        terminal.shows(0, "runs/endless");
        assert!(
            !terminal.written().contains("38;5;"),
            "{:?}",
            terminal.written()
        );
        if name.is_empty() {
            terminal.press(keys);
        } else {
            assert!(signal(read(&folder.join("pid")).trim(), &[name]));
        }
        terminal.ends(code);
    }
    stop(&mut running);
}

/// A window that is closed, or a connection that breaks: a process that stayed would compute for ever.
#[test]
fn the_view_ends_with_its_terminal() {
    if !can_make_terminals() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    fs::create_dir(folder.join("runs")).expect("writable");
    let mut terminal = Terminal::open(folder, "");
    terminal.shows(0, "yet");
    let process = read(&folder.join("pid"));
    let lives = || {
        let probe = Command::new("kill").args(["-0", process.trim()]).output();
        probe.expect("kill exists").status.success()
    };
    assert!(lives());
    terminal.script.0.kill().expect("our own child");
    terminal.script.0.wait().expect("our own child");
    let ended = waits_until(|| !lives());
    if !ended {
        let _ = Command::new("kill")
            .args(["-KILL", process.trim()])
            .status();
    }
    assert!(ended, "it goes on without a terminal");
}
