//! Tests that take a night: runs that are killed again and again, and memory over hours.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rescore_agents::Algorithm;
use rescore_store::{StoreError, durable};

use crate::Error;

/// What to do and for how long.
#[derive(Debug, clap::Args)]
pub struct Soak {
    /// Hours over which memory and open files are watched
    #[arg(long, value_name = "H", default_value_t = 1.0, value_parser = parse_hours)]
    hours: f64,
    /// How often runs of each algorithm are killed
    #[arg(long, value_name = "N", default_value_t = 100)]
    kills: u32,
    /// Folder for the runs; removed when all is well
    #[arg(long, value_name = "DIR", default_value = "runs/soak")]
    out: PathBuf,
}

fn parse_hours(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|hours| (0.0..=1000.0).contains(hours))
        .ok_or_else(|| format!("`{text}` is not a number of hours from 0 to 1000"))
}

/// Small networks, so that much is written and little computed.
const SMALL: &[&str] = &[
    "--env",
    "Pendulum-v1",
    "--set",
    "hidden_dims=[16, 16]",
    "--set",
    "num_envs=2",
    "--set",
    "batch_size=16",
    "--set",
    "warmup_steps=200",
    "--set",
    "evaluation.episodes=2",
    "--set",
    "log_every=20",
];
/// Steps of the runs that are killed.
const STEPS: &str = "2000";
/// Growth of memory that is still none, in percent.
const GROWTH: f64 = 1.0;
/// Samples of memory that are compared, at the beginning and at the end.
const COMPARED: usize = 20;

impl Soak {
    /// Does all of it and says what came out, line by line, through `say`.
    ///
    /// # Errors
    /// When something that should hold does not, or the folder cannot be written.
    pub fn run(&self, say: &mut dyn FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
        if self.out.exists() {
            return Err(StoreError::FolderNotEmpty(self.out.clone()).into());
        }
        durable::create_folder(&self.out)?;
        for algorithm in Algorithm::all() {
            if self.kills > 0 {
                say(&self.kill_again_and_again(algorithm.name)?)?;
            }
        }
        if self.hours > 0.0 {
            say(&self.watch_memory()?)?;
        }
        Ok(durable::remove(&self.out)?)
    }

    fn train(&self, arguments: &[&str]) -> Result<Child, StoreError> {
        let program =
            std::env::current_exe().map_err(StoreError::io("find", Path::new("rescore")))?;
        Command::new(&program)
            .arg("train")
            .args(arguments)
            .current_dir(&self.out)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(StoreError::io("run", &program))
    }

    /// Kills runs of `algo` at random moments until they have been killed often enough, goes on
    /// with each until it is done, and compares it with one that was left alone.
    fn kill_again_and_again(&self, algo: &str) -> Result<String, Error> {
        let small = |out: &'static str| {
            let own = ["--algo", algo, "--steps", STEPS, "--out", out];
            // Between two kills a run must come further than to its next checkpoint, or it would
            // begin again and again.
            let often = [
                "--set",
                "replay.capacity=700",
                "--set",
                "checkpoint_every=20",
            ];
            [SMALL, &own, &often].concat()
        };
        let started = Instant::now();
        let status = wait(&mut self.train(&small("whole"))?)?;
        let whole = started.elapsed();
        require(status.success(), || {
            format!("{algo}: a run failed: {status}")
        })?;
        let expected = contents(&self.out.join("whole"))?;
        let (mut kills, mut runs) = (0, 0);
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        while kills < self.kills {
            let mut child = self.train(&small("killed"))?;
            loop {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Five kills in the time of a run, more or less.
                let wait_for = whole.mul_f64((random >> 40) as f64 / f64::from(1 << 24) * 0.4);
                // The last run is left to its end.
                if kills < self.kills {
                    std::thread::sleep(wait_for);
                    // It may have ended by itself.
                    let _ = child.kill();
                }
                let status = wait(&mut child)?;
                if status.success() {
                    break;
                }
                require(status.code().is_none(), || {
                    format!("{algo}: a run failed: {status}")
                })?;
                kills += 1;
                child = if self.out.join("killed/config.toml").exists() {
                    self.train(&["--resume", "killed", "--strict"])?
                } else {
                    durable::remove(&self.out.join("killed"))?;
                    self.train(&small("killed"))?
                };
            }
            runs += 1;
            let found = contents(&self.out.join("killed"))?;
            let differing = expected
                .iter()
                .find(|(name, bytes)| found.get(*name) != Some(bytes));
            require(differing.is_none() && found.len() == expected.len(), || {
                format!(
                    "{algo}: after kills the run differs, for example in {:?}",
                    differing.map(|(name, _)| name)
                )
            })?;
            durable::remove(&self.out.join("killed"))?;
        }
        durable::remove(&self.out.join("whole"))?;
        Ok(format!(
            "{algo}: killed {kills} times in {runs} runs, each the same to the bit as one that was not"
        ))
    }

    /// Trains for hours and watches memory and open files once the buffer is full.
    fn watch_memory(&self) -> Result<String, Error> {
        let own = [
            "--algo",
            "dpmd",
            "--steps",
            "1000000000",
            "--out",
            "long",
            "--set",
            "replay.capacity=5000",
            "--set",
            "checkpoint_every=200",
            "--set",
            "evaluation.every=400",
            "--set",
            "particles=4",
            "--set",
            "hidden_dims=[256, 256, 256]",
        ];
        let mut child = self.train(&[SMALL, &own].concat())?;
        let result = self.sample(&mut child);
        // It is done with, whatever came out.
        let _ = child.kill();
        wait(&mut child)?;
        let samples = result?;
        require(samples.len() >= 2 * COMPARED, || {
            format!("only {} samples of memory could be taken", samples.len())
        })?;
        let mean = |samples: &[(u64, u64)]| {
            samples
                .iter()
                .map(|(memory, _)| *memory as f64)
                .sum::<f64>()
                / samples.len() as f64
        };
        let (first, last) = (&samples[..COMPARED], &samples[samples.len() - COMPARED..]);
        let growth = 100.0 * (mean(last) / mean(first) - 1.0);
        let files: Vec<u64> = [first, last]
            .map(|samples| samples.iter().map(|(_, f)| *f).max().unwrap_or(0))
            .into();
        let said = format!(
            "{} samples over {:.2} hours: memory {:.0} KiB at first, {:.0} KiB at last ({growth:+.2} %), \
             open files at most {} at first and {} at last",
            samples.len(),
            self.hours,
            mean(first),
            mean(last),
            files[0],
            files[1],
        );
        require(growth < GROWTH && files[0] == files[1], || said.clone())?;
        Ok(said)
    }

    /// Resident memory in KiB (without pages of the program itself, which come as they are used) and number of open files, once the buffer is full, until time is up.
    fn sample(&self, child: &mut Child) -> Result<Vec<(u64, u64)>, Error> {
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        // A ring is eight segments: with this one the second begins to overwrite the first.
        let overwriting = self.out.join("long/replay/seg-00000008.bin");
        let begun = Instant::now();
        while !overwriting.exists() {
            std::thread::sleep(Duration::from_millis(100));
            require(begun.elapsed() < Duration::from_mins(10), || {
                "the buffer is not filled".into()
            })?;
            require(matches!(child.try_wait(), Ok(None)), || {
                "the run has ended".into()
            })?;
        }
        let time = Duration::from_secs_f64(3600.0 * self.hours);
        let every = (time / 400).max(Duration::from_millis(500));
        let mut samples = Vec::new();
        let started = Instant::now();
        while started.elapsed() < time {
            let file = process.join("status");
            let status = fs::read_to_string(&file).map_err(StoreError::io("read", &file))?;
            let memory = status.lines().find_map(|line| {
                line.strip_prefix("RssAnon:")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            });
            let files = process.join("fd");
            let files = fs::read_dir(&files).map_err(StoreError::io("read", &files))?;
            samples.push((memory.unwrap_or(0), files.count() as u64));
            std::thread::sleep(every);
        }
        Ok(samples)
    }
}

fn wait(child: &mut Child) -> Result<ExitStatus, StoreError> {
    child
        .wait()
        .map_err(StoreError::io("wait for", Path::new("rescore")))
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::Soak(otherwise()))
    }
}

/// Every file below `folder` but those with a clock in them.
fn contents(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, Error> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(StoreError::io("read", &folder))? {
            let path = entry.map_err(StoreError::io("read", &folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if !["manifest.json", "metrics.jsonl"]
                .iter()
                .any(|name| path.ends_with(name))
            {
                let bytes = durable::read_limited(&path, 1 << 30)?;
                files.insert(path, bytes);
            }
        }
    }
    // Relative, so that two runs can be compared.
    let relative = |(path, bytes): (PathBuf, Vec<u8>)| {
        let path = path
            .strip_prefix(folder)
            .map(Path::to_owned)
            .unwrap_or(path);
        (path, bytes)
    };
    Ok(files.into_iter().map(relative).collect())
}
