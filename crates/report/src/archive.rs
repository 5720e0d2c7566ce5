//! Copies of runs that are small enough for a repository and hold everything that a report draws.

use std::fs;
use std::path::{Path, PathBuf};

use rescore_store::durable::{create_folder, read_text, write_whole};
use rescore_store::names::{CHECKPOINTS, CONFIG, EVALUATIONS, METRICS};
use rescore_store::run_folder::CONFIG_LIMIT;
use rescore_store::{StoreError, log::EVAL_LIMIT};

use crate::ReportError;
use crate::diagnosis::DIAGNOSES;
use crate::run::{Line, WALL_TIME, log};

/// Lines of a log at most.
const MOST_LINES: usize = 50;

/// What is drawn beside the diagnoses, or read as a speed.
const ALSO_KEPT: [&str; 3] = ["update", WALL_TIME, "env_steps_per_s"];

/// Copies each of `runs` into a folder of its name in `out`: `config.toml` and `eval.csv` as they are,
/// and of `metrics.jsonl` what a report draws, as means of neighbouring lines of which at most 50 are
/// left. A copy of the same run that is there already is replaced; a run without an evaluation is left
/// out.
///
/// # Errors
/// When a run cannot be read, two have the same name, a folder there holds anything but a copy of the
/// same run, or a file cannot be written.
pub fn archive(runs: &[PathBuf], out: &Path) -> Result<(), ReportError> {
    let mut copies: Vec<PathBuf> = Vec::new();
    let runs = runs.iter().filter(|run| run.join(EVALUATIONS).exists());
    for run in runs.clone() {
        let copy = out.join(name(run)?);
        if copies.contains(&copy) {
            return Err(ReportError::unfit(
                format!("two runs would be copied to {}", copy.display()),
                "give them folders of different names",
            ));
        }
        require_copy(run, &copy)?;
        copies.push(copy);
    }
    for (run, copy) in runs.zip(&copies) {
        let config = read_text(&run.join(CONFIG), CONFIG_LIMIT)?;
        let evaluations = read_text(&run.join(EVALUATIONS), EVAL_LIMIT)?;
        let (log, _) = log(run)?;
        create_folder(copy)?;
        write_whole(&copy.join(EVALUATIONS), evaluations.as_bytes())?;
        if !log.is_empty() {
            write_whole(&copy.join(METRICS), thinned(&log).as_bytes())?;
        }
        // Last, because it makes the folder that of a run.
        write_whole(&copy.join(CONFIG), config.as_bytes())?;
    }
    Ok(())
}

/// The name of the folder of a run, which may have been given as `.`.
fn name(run: &Path) -> Result<std::ffi::OsString, ReportError> {
    let path = run.canonicalize().map_err(StoreError::io("read", run))?;
    let name = path.file_name().map(ToOwned::to_owned);
    name.ok_or_else(|| {
        ReportError::unfit(
            format!("{} has no name", run.display()),
            "a run folder is below another folder",
        )
    })
}

/// Requires that `copy` is free, or an older copy of `run` and not a run itself.
fn require_copy(run: &Path, copy: &Path) -> Result<(), ReportError> {
    if fs::symlink_metadata(copy).is_err() {
        return Ok(());
    }
    let config = |folder: &Path| read_text(&folder.join(CONFIG), CONFIG_LIMIT);
    let reason = if copy.join(CHECKPOINTS).exists() {
        "is a run with checkpoints and no copy of one"
    } else if config(copy).ok() != Some(config(run)?) {
        "holds something else than a copy of this run"
    } else {
        return Ok(());
    };
    Err(ReportError::unfit(
        format!("{} {reason}", copy.display()),
        "copy into another folder, or move that one away",
    ))
}

/// The lines that remain of `log`.
fn thinned(log: &[Line]) -> String {
    let every = log.len().div_ceil(MOST_LINES);
    let lines = log.chunks(every.max(1)).map(|lines| line(lines) + "\n");
    lines.collect()
}

/// One line in place of several: the last one's counts and times, and means of everything else.
fn line(lines: &[Line]) -> String {
    let number = |name: &str| {
        let values = lines.iter().filter_map(|line| line.numbers.get(name));
        let values: Vec<f64> = values.copied().collect();
        let last = *values.last()?;
        Some(match name {
            "update" | WALL_TIME => last,
            _ => values.iter().sum::<f64>() / values.len() as f64,
        })
    };
    let names = ALSO_KEPT.into_iter();
    let names = names.chain(DIAGNOSES.iter().map(|diagnosis| diagnosis.metric));
    let step = lines.last().map_or(0.0, |line| line.step);
    let entries = names.filter_map(|name| Some(format!(",\"{name}\":{}", short(number(name)?))));
    format!("{{\"step\":{step}{}}}", entries.collect::<String>())
}

/// A number with six digits, which no curve shows more of.
fn short(number: f64) -> f64 {
    let text = format!("{number:.5e}");
    text.parse().expect("a formatted number can be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Run;

    const CONFIG_TEXT: &str = "algo = \"sac\"\nenv = \"Ant-v4\"\nseed = 3\nsteps = 400\n";

    fn run(folder: &Path, name: &str) -> PathBuf {
        let run = folder.join(name);
        fs::create_dir_all(run.join(CHECKPOINTS)).expect("writable");
        let line = |n: u32| {
            let time = f64::from(n) / 3.0;
            format!(
                "{{\"step\":{n},\"update\":{n},\"wall_time_s\":{time},\"value_age\":{},\"other\":1,\
                 \"critic_excess\":null}}\n",
                n % 2
            )
        };
        let log: String = (1..=400).map(line).collect();
        fs::write(run.join(METRICS), log).expect("writable");
        let evaluations =
            "step,episodes,mean_return,std_return,return_0\n200,1,5,0,5\n400,1,7,0,7\n";
        fs::write(run.join(EVALUATIONS), evaluations).expect("writable");
        fs::write(run.join(CONFIG), CONFIG_TEXT).expect("writable");
        run
    }

    #[test]
    fn a_copy_shows_what_the_run_shows() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = run(folder.path(), "a");
        let out = folder.path().join("archive");
        archive(std::slice::from_ref(&run), &out).expect("writable");
        let copy = out.join("a");
        let text = fs::read_to_string(copy.join(METRICS)).expect("written");
        assert_eq!(text.lines().count(), 50);
        let first = "{\"step\":8,\"update\":8,\"wall_time_s\":2.66667,\"value_age\":0.5}";
        assert_eq!(text.lines().next(), Some(first));
        let read = |path: &Path| Run::read(path).expect("readable").expect("evaluations");
        let (whole, small) = (read(&run), read(&copy));
        assert_eq!(
            small.final_and_best().map(f64::to_bits),
            [7.0_f64; 2].map(f64::to_bits)
        );
        let last = |run: &Run| run.seconds_at(400.0).expect("a log");
        assert!((last(&whole) - last(&small)).abs() < 0.5);
        assert!(!copy.join(CHECKPOINTS).exists());
        // The same again, of the run and of its copy.
        archive(std::slice::from_ref(&run), &out).expect("an older copy");
        let again = folder.path().join("again");
        archive(&[copy], &again).expect("a copy has all that it takes");
        assert_eq!(
            fs::read_to_string(again.join("a").join(METRICS)).expect("written"),
            text
        );
    }

    #[test]
    fn nothing_but_an_older_copy_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = run(folder.path(), "a");
        let refused = |runs: &[PathBuf], out: &Path, words: &str| {
            let error = archive(runs, out).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
        };
        let runs = std::slice::from_ref(&first);
        refused(runs, folder.path(), "is a run with checkpoints");
        let out = folder.path().join("archive");
        let elsewhere = run(&folder.path().join("b"), "a");
        refused(
            &[first.clone(), elsewhere.clone()],
            &out,
            "two runs would be copied",
        );
        assert!(!out.exists(), "something was written");
        archive(&[elsewhere], &out).expect("writable");
        let text = CONFIG_TEXT.replace('3', "4");
        fs::write(first.join(CONFIG), text).expect("writable");
        refused(&[first], &out, "something else than a copy of this run");
    }
}
