//! Copies of runs that are small enough for a repository and hold everything that a report draws.

use std::fs;
use std::path::{Path, PathBuf};

use rescore_store::durable::{create_folder, read_text, write_whole};
use rescore_store::log::{EVAL_LIMIT, Evaluations};
use rescore_store::names::{CHECKPOINTS, CONFIG, DONE, EVALUATIONS, MANIFEST, METRICS, REPLAY};
use rescore_store::run_folder::CONFIG_LIMIT;
use rescore_store::{StoreError, prune};

use crate::ReportError;
use crate::diagnosis::DIAGNOSES;
use crate::run::{Line, WALL_TIME, keep_compared, log};

/// Lines of a log at most.
const MOST_LINES: usize = 50;

/// What is drawn beside the diagnoses, or read as a speed.
const ALSO_KEPT: [&str; 3] = ["update", WALL_TIME, "env_steps_per_s"];

/// Runs and where their copies go, each into a folder of the run's name.
#[derive(Debug)]
pub struct Archive {
    copies: Vec<(PathBuf, PathBuf)>,
}

impl Archive {
    /// The copies of `runs` below `out`; nothing is written yet. Runs without an evaluation are left out.
    /// Of runs with the same name the name of the folder above stands before it.
    ///
    /// # Errors
    /// When a run cannot be read, `out` lies in a run, or a folder there holds anything but an older copy
    /// of the same run.
    pub fn of(runs: &[PathBuf], out: &Path) -> Result<Self, ReportError> {
        let whole = std::path::absolute(out).map_err(StoreError::io("find", out))?;
        if let Some(run) = whole
            .ancestors()
            .find(|folder| folder.join(CONFIG).exists())
        {
            return Err(ReportError::unfit(
                format!("{} lies in the run {}", out.display(), run.display()),
                "copy into a folder outside of runs",
            ));
        }
        let mut named = Vec::new();
        for run in runs {
            if !Evaluations::read(run)?.points.is_empty() {
                named.push((run.clone(), names(run)?));
            }
        }
        let is_unique = |name: &str| named.iter().filter(|(_, [it, _])| it == name).count() == 1;
        let mut copies: Vec<(PathBuf, PathBuf)> = Vec::new();
        for (run, [short, long]) in &named {
            let copy = out.join(if is_unique(short) { short } else { long });
            if copies.iter().any(|(_, known)| *known == copy) {
                return Err(ReportError::unfit(
                    format!("two runs would be copied to {}", copy.display()),
                    "give them folders of different names",
                ));
            }
            require_copy(run, &copy)?;
            copies.push((run.clone(), copy));
        }
        Ok(Self { copies })
    }

    /// Writes of each run `config.toml` and `eval.csv` as they are, and of `metrics.jsonl` what a report
    /// draws, as means of neighbouring lines of which at most 50 are left. An older copy is replaced. A
    /// copy cannot go on, which its `PRUNED` says.
    ///
    /// # Errors
    /// When a run cannot be read or a file cannot be written.
    pub fn write(&self) -> Result<(), ReportError> {
        for (run, copy) in &self.copies {
            let config = read_text(&run.join(CONFIG), CONFIG_LIMIT)?;
            let evaluations = read_text(&run.join(EVALUATIONS), EVAL_LIMIT)?;
            let (log, _) = log(run)?;
            create_folder(copy)?;
            prune::mark(copy, "all but settings, evaluations and a short log")?;
            write_whole(&copy.join(EVALUATIONS), evaluations.as_bytes())?;
            if !log.is_empty() {
                write_whole(&copy.join(METRICS), thinned(&log).as_bytes())?;
            }
            if run.join(DONE).exists() {
                let done = read_text(&run.join(DONE), CONFIG_LIMIT)?;
                write_whole(&copy.join(DONE), done.as_bytes())?;
            }
            // Last, because it makes the folder that of a run.
            write_whole(&copy.join(CONFIG), config.as_bytes())?;
        }
        Ok(())
    }
}

/// The name of the folder of a run, which may have been given as `.`; and that behind the name of the
/// folder above it.
fn names(run: &Path) -> Result<[String; 2], ReportError> {
    let path = run.canonicalize().map_err(StoreError::io("read", run))?;
    let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    let short = name(&path).unwrap_or_else(|| "run".to_owned());
    let above = path.parent().and_then(name);
    let long = above.map_or_else(|| short.clone(), |above| format!("{above}-{short}"));
    Ok([short, long])
}

/// Requires that `copy` is free, or an older copy of `run` and not a run itself.
fn require_copy(run: &Path, copy: &Path) -> Result<(), ReportError> {
    if fs::symlink_metadata(copy).is_err() {
        return Ok(());
    }
    let is_run = [MANIFEST, CHECKPOINTS, REPLAY]
        .iter()
        .any(|name| copy.join(name).exists());
    let last = |folder: &Path| {
        let points = Evaluations::read(folder).ok()?.points;
        Some(points.last()?.step)
    };
    let reason = if is_run {
        "is a run and no copy of one"
    } else if compared(copy).is_none() || compared(copy) != compared(run) {
        "holds something else than a copy of this run"
    } else if copy.canonicalize().ok() == run.canonicalize().ok() {
        "would be copied to itself"
    } else if last(copy) > last(run) {
        "is a copy of this run that goes further"
    } else {
        return Ok(());
    };
    Err(ReportError::unfit(
        format!("{} {reason}", copy.display()),
        "copy into another folder, or move that one away",
    ))
}

/// What tells one run from another: its seed and whatever decides what is learned.
fn compared(run: &Path) -> Option<(Option<toml::Value>, toml::Table)> {
    let text = read_text(&run.join(CONFIG), CONFIG_LIMIT).ok()?;
    let mut table: toml::Table = text.parse().ok()?;
    let seed = table.get("seed").cloned();
    keep_compared(&mut table);
    Some((seed, table))
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
        fs::write(run.join(DONE), "{\"step\":400}").expect("writable");
        run
    }

    fn archive(runs: &[PathBuf], out: &Path) -> Result<(), ReportError> {
        Archive::of(runs, out)?.write()
    }

    #[test]
    fn a_copy_shows_what_the_run_shows() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = run(folder.path(), "a");
        let empty = folder.path().join("empty");
        fs::create_dir(&empty).expect("writable");
        fs::write(empty.join(CONFIG), CONFIG_TEXT).expect("writable");
        let out = folder.path().join("archive");
        let runs = [run.clone(), empty];
        archive(&runs, &out).expect("writable");
        assert!(!out.join("empty").exists(), "it has no evaluation");
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
        let mut files: Vec<_> = fs::read_dir(&copy)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        files.sort();
        assert_eq!(files, ["DONE", "PRUNED", CONFIG, EVALUATIONS, METRICS]);
        // The same again, of the run after it was made longer, and of its copy.
        fs::write(run.join(CONFIG), CONFIG_TEXT.replace("400", "800")).expect("writable");
        archive(&runs, &out).expect("an older copy");
        let again = folder.path().join("again");
        archive(&[copy], &again).expect("a copy has all that it takes");
        let copied = fs::read_to_string(again.join("a").join(METRICS)).expect("written");
        assert_eq!(copied, text);
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
        refused(runs, folder.path(), "is a run and no copy of one");
        refused(runs, &first, "lies in the run");
        refused(runs, &first.join(CHECKPOINTS), "lies in the run");
        let out = folder.path().join("archive");
        archive(runs, &out).expect("writable");
        let copy = out.join("a");
        refused(
            std::slice::from_ref(&copy),
            &out,
            "would be copied to itself",
        );
        let longer = "500,1,7,0,7\n";
        let file = copy.join(EVALUATIONS);
        let text = fs::read_to_string(&file).expect("written");
        fs::write(&file, text + longer).expect("writable");
        refused(runs, &out, "goes further");
        fs::write(first.join(CONFIG), CONFIG_TEXT.replace('3', "4")).expect("writable");
        refused(runs, &out, "something else than a copy of this run");
        // Two runs of one name.
        let elsewhere = run(&folder.path().join("b"), "a");
        let both = folder.path().join("both");
        archive(&[first, elsewhere], &both).expect("writable");
        assert!(both.join("b-a").join(CONFIG).exists());
        assert!(!both.join("a").exists());
    }
}
