//! Running the program `rescore` in tests. Everything here panics where a test should fail.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

/// The program under test: `RESCORE_BIN`, else the one beside this test executable.
///
/// # Panics
/// When it does not exist; the message says how to build it.
pub fn binary() -> PathBuf {
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
        "{} does not exist: build it with `cargo build --release -p rescore --features \
         developer`, or set RESCORE_BIN",
        path.display()
    );
    path
}

/// The program with `arguments`, to be run in `folder`.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .current_dir(folder)
        .args(arguments)
        .env("RUST_LOG", "warn");
    command
}

/// Runs the program in `folder`.
///
/// # Panics
/// When it cannot be started.
pub fn rescore(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments)
        .output()
        .expect("the program starts")
}

/// What a finished program wrote to stdout.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a finished program wrote to stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Says that the calling test could not test what it is for, and why. The gate names the file in
/// `RESCORE_SKIPPED` and prints it at its end, because a test that returns has passed.
///
/// # Panics
/// When the file cannot be written.
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {reason}\n", thread.name().unwrap_or("a test"));
    print!("SKIPPED: {line}");
    if let Some(path) = std::env::var_os("RESCORE_SKIPPED") {
        let file = File::options().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("RESCORE_SKIPPED names a file that can be written");
    }
}

/// Runs the program, which must end with `code` and say all of `messages` on stderr.
///
/// # Panics
/// When it ends otherwise, or panics itself.
pub fn fails(folder: &Path, arguments: &[&str], code: i32, messages: &[&str]) {
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

/// Trains each of the three kinds of actors on `backend` and evaluates it.
///
/// # Panics
/// When the program fails, or a return is none of Pendulum-v1.
pub fn trains_and_evaluates(folder: &Path, backend: &str) {
    for algo in ["dpmd", "sdac", "sac"] {
        let arguments = ["--algo", algo, "--backend", backend, "--out", algo];
        trains(folder, &tiny(&arguments));
        let output = rescore(folder, &["eval", algo, "--json"]);
        assert!(output.status.success(), "{algo}: {}", stderr(&output));
        let report: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        // Returns lie between -200 times the largest cost, 16.3, and 0.
        let mean = report["mean_return"].as_f64().expect("a number");
        assert!((-3260.0..=0.0).contains(&mean), "{algo}: {mean}");
    }
}

/// Settings that make a run take about a second.
const TINY: &[&str] = &[
    "--set",
    "critic.network.kind=mlp",
    "--set",
    "hidden_dims=[16, 16]",
    "--set",
    "normalize_observation=false",
    "--set",
    "normalize_reward=false",
    "--set",
    "num_envs=2",
    "--set",
    "batch_size=16",
    "--set",
    "updates_per_step=0.2",
    "--set",
    "warmup_steps=50",
    "--set",
    "count_warmup=false",
    "--set",
    "evaluation.every=40",
    "--set",
    "evaluation.episodes=2",
    "--set",
    "checkpoint_every=30",
    "--set",
    "log_every=10",
];

/// The settings of [`tiny`] as the table `[set]` of a sweep, without its head.
pub fn tiny_table() -> String {
    let settings = TINY.iter().skip(1).step_by(2);
    let line = |setting: &&str| {
        let (key, value) = setting.split_once('=').unwrap_or_default();
        let is_word = value.starts_with(char::is_alphabetic) && !["true", "false"].contains(&value);
        let value = if is_word {
            format!("{value:?}")
        } else {
            value.to_owned()
        };
        // A list of one value, which may be a list itself.
        format!("{key:?} = [{value}]\n")
    };
    settings.map(line).collect()
}

/// A run of 100 steps on Pendulum-v1 with tiny settings and `more`, which may choose otherwise.
pub fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = [&["train"], TINY, more].concat();
    for (option, value) in [("--env", "Pendulum-v1"), ("--steps", "100")] {
        if !more.contains(&option) {
            arguments.extend([option, value]);
        }
    }
    arguments
}

/// Trains in `folder`.
///
/// # Panics
/// When that does not succeed.
pub fn trains(folder: &Path, arguments: &[&str]) -> Output {
    let output = rescore(folder, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    output
}

/// Whether two lists of numbers are the same up to the last bit, which readers of JSON may round.
pub fn are_equal(a: &[f64], b: &[f64]) -> bool {
    let mut pairs = a.iter().zip(b);
    a.len() == b.len() && pairs.all(|(a, b)| (a - b).abs() <= 1e-14 * b.abs())
}

/// The text of a file.
///
/// # Panics
/// When it cannot be read; the message names it.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Sends the process `signals` (`"-TERM"`), one right after the other. By the shell's own `kill`:
/// not every machine has a program of that name. Gives whether there was such a process.
///
/// # Panics
/// Where there is no shell.
pub fn signal(process: &str, signals: &[&str]) -> bool {
    let kill = |signal: &&str| format!("kill {signal} {process}");
    let commands: Vec<_> = signals.iter().map(kill).collect();
    let status = Command::new("sh")
        .args(["-c", &commands.join(" && ")])
        .status();
    status.expect("sh exists").success()
}

/// Long enough for any machine; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Whether `condition` comes true within [`PATIENCE`].
pub fn waits_until(mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// How `child` ends.
///
/// # Panics
/// When it does not end within [`PATIENCE`]; it is killed then.
pub fn end_of(child: &mut Child) -> ExitStatus {
    let ended = waits_until(|| matches!(child.try_wait(), Ok(Some(_))));
    if !ended {
        child.kill().expect("it has not ended");
    }
    assert!(ended, "the program does not end");
    child.wait().expect("it has ended")
}
