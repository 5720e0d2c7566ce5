//! Fetching: a wheel by pip, or a pinned file by curl. What arrives is checked against
//! `mujoco.toml` here, whatever the tool that fetched it has checked, before anybody else sees it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::files::{sha256_file, size_of_folder};
use super::manifest::{Archive, Manifest, Platform, Wheel};
use super::source::{self, Library};

/// What went wrong on one route; the caller shows it only if no route worked.
pub type Attempt<T> = Result<T, String>;

/// Longest time that one download may take: 26 MB in it are 45 kB/s.
const LIMIT: Duration = Duration::from_mins(10);

/// How often a download says how far it is.
const REPORT: Duration = Duration::from_secs(5);

/// The command line that runs pip on this machine.
pub fn pip() -> Option<Vec<&'static str>> {
    [
        vec!["python3", "-m", "pip"],
        vec!["python", "-m", "pip"],
        vec!["pip3"],
        vec!["pip"],
    ]
    .into_iter()
    .find(|pip| {
        let mut version = Command::new(pip[0]);
        version.args(&pip[1..]).arg("--version");
        run(&mut version, Duration::from_secs(30), None).is_ok()
    })
}

/// SHA-256 of a file and of the library in it.
#[derive(Debug, Clone, Copy)]
pub struct Pin<'a> {
    /// Of what is fetched.
    pub sha256: &'a str,
    /// Of the library.
    pub library_sha256: &'a str,
}

/// A way to fetch the library.
pub trait Route {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// What is pinned of the file that this route fetches.
    ///
    /// # Errors
    /// If nothing is pinned for this route: then it is not taken.
    fn pin<'a>(&self, platform: &'a Platform) -> Attempt<Pin<'a>>;

    /// Fetches the file into the empty folder `into` and returns its path.
    ///
    /// # Errors
    /// Why it did not work.
    fn download(&self, version: &str, platform: &Platform, into: &Path) -> Attempt<PathBuf>;
}

/// Fetches the library by `route` into the empty folder `dir`, checks file and library against
/// their hashes, and returns the library.
///
/// # Errors
/// Why it did not work; what failed a check is then removed.
pub fn receive(manifest: &Manifest, route: &dyn Route, dir: &Path) -> Attempt<Library> {
    let version = &manifest.mujoco.version;
    let platform = manifest
        .this_platform()
        .ok_or("mujoco.toml has no entry for this platform")?;
    let pin = route.pin(platform)?;
    let file = route.download(version, platform, dir)?;
    verify(&file, pin.sha256)?;
    let unpacked = dir.join("unpacked");
    fs::create_dir_all(&unpacked).map_err(|e| e.to_string())?;
    if is_tar(&file) {
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(&file).arg("-C").arg(&unpacked);
        run(tar.arg("--strip-components=1"), LIMIT, None)?;
    } else {
        source::unpack(&file, &unpacked).map_err(|e| e.message)?;
    }
    let library = source::find_library(&unpacked, version).ok_or_else(|| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        format!("{name} holds no MuJoCo library")
    })?;
    verify(&library.path, pin.library_sha256)?;
    Ok(library)
}

fn is_tar(file: &Path) -> bool {
    file.extension().is_some_and(|e| e == "gz" || e == "tgz")
}

/// The wheel, from the index that pip is configured for.
pub struct Pip;

impl Pip {
    fn wheel(platform: &Platform) -> Attempt<&Wheel> {
        let missing = "mujoco.toml names no wheel for this platform";
        platform.wheel.as_ref().ok_or_else(|| missing.to_owned())
    }
}

impl Route for Pip {
    fn name(&self) -> &'static str {
        "pip"
    }

    fn pin<'a>(&self, platform: &'a Platform) -> Attempt<Pin<'a>> {
        let wheel = Self::wheel(platform)?;
        Ok(Pin {
            sha256: &wheel.sha256,
            library_sha256: &wheel.library_sha256,
        })
    }

    fn download(&self, version: &str, platform: &Platform, into: &Path) -> Attempt<PathBuf> {
        let pip = pip().ok_or("no Python with pip was found")?;
        let wheel = Self::wheel(platform)?;
        let requirements = into.join("requirements.txt");
        let line = format!("mujoco=={version} --hash=sha256:{}\n", wheel.sha256);
        fs::write(&requirements, line).map_err(|e| e.to_string())?;
        let wheels = into.join("wheels");
        eprintln!("fetching {} with pip", wheel.file);
        let mut command = Command::new(pip[0]);
        command
            .args(&pip[1..])
            .args(["download", "--quiet", "--disable-pip-version-check"])
            .args(["--no-input", "--retries", "1", "--timeout", "15"])
            .args(["--no-deps", "--only-binary=:all:", "--require-hashes"])
            // So that any Python with pip can fetch it.
            .args(["--platform", &wheel.pip_tag, "--implementation", "cp"])
            .args(["--python-version", "3.12", "--abi", "cp312"])
            .arg("--dest")
            .arg(&wheels)
            .arg("--requirement")
            .arg(&requirements)
            // What is half there is seen, and removed with the folder.
            .env("TMPDIR", into);
        run(&mut command, LIMIT, Some(into))?;
        let found = fs::read_dir(&wheels)
            .ok()
            .and_then(|mut files| files.next()?.ok());
        found
            .map(|file| file.path())
            .ok_or_else(|| "pip brought nothing".to_owned())
    }
}

/// The file that is pinned with an address, over TLS. For machines without pip.
pub struct Curl;

impl Curl {
    fn archive(platform: &Platform) -> Attempt<&Archive> {
        platform.archive.as_ref().ok_or_else(|| {
            "mujoco.toml pins no archive for this platform, and nothing is fetched that is not \
             pinned"
                .to_owned()
        })
    }

    /// The command that fetches `url` into the file `to`.
    pub(super) fn command(url: &str, to: &Path) -> Command {
        let mut curl = Command::new("curl");
        // Redirections, too, keep to TLS.
        curl.args(["--proto", "=https", "--tlsv1.2", "--location"])
            .args(["--fail", "--silent", "--show-error", "--retry", "1"])
            .args(["--connect-timeout", "15", "--max-time"])
            .arg(LIMIT.as_secs().to_string())
            .arg("--output")
            .arg(to)
            .arg(url);
        curl
    }
}

impl Route for Curl {
    fn name(&self) -> &'static str {
        "curl"
    }

    fn pin<'a>(&self, platform: &'a Platform) -> Attempt<Pin<'a>> {
        let archive = Self::archive(platform)?;
        Ok(Pin {
            sha256: &archive.sha256,
            library_sha256: &archive.library_sha256,
        })
    }

    fn download(&self, _version: &str, platform: &Platform, into: &Path) -> Attempt<PathBuf> {
        let url = &Self::archive(platform)?.url;
        let name = url.rsplit('/').next().unwrap_or("archive");
        let to = into.join(name);
        eprintln!("fetching {url}");
        run(&mut Self::command(url, &to), LIMIT, Some(into))?;
        Ok(to)
    }
}

fn verify(path: &Path, sha256: &str) -> Attempt<()> {
    let found = sha256_file(path).map_err(|e| e.message)?;
    if found == sha256 {
        return Ok(());
    }
    // Nothing that failed the check may be found by anybody.
    let _ = fs::remove_file(path);
    Err(format!(
        "{} has SHA-256 {found}, but mujoco.toml pins {sha256}; it was removed",
        path.file_name().unwrap_or_default().to_string_lossy()
    ))
}

/// Runs a program for at most `limit`, and says every few seconds how much is in `folder`.
///
/// # Errors
/// What it has to say, or that it took too long.
fn run(command: &mut Command, limit: Duration, folder: Option<&Path>) -> Attempt<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    // A file, because a pipe that nobody reads would stop the program.
    let errors = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    let to = errors.reopen().map_err(|e| e.to_string())?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(to)
        .spawn()
        .map_err(|e| format!("cannot run {program}: {e}"))?;
    let begun = Instant::now();
    let mut report = REPORT;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if begun.elapsed() > limit {
            // It may have ended just now; either way it is gone after these two.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{program}: not done after {} s", limit.as_secs()));
        }
        if let Some(folder) = folder
            && begun.elapsed() > report
        {
            let megabytes = size_of_folder(folder).unwrap_or(0) as f64 / 1e6;
            eprintln!("  {megabytes:.1} MB after {} s", report.as_secs());
            report += REPORT;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if status.success() {
        return Ok(());
    }
    let text = fs::read(errors.path()).unwrap_or_default();
    Err(format!(
        "{program}: {}",
        reason(&String::from_utf8_lossy(&text))
    ))
}

/// What a program that failed has to say: all from the line on that it calls an error, as pip does,
/// else the last line.
fn reason(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let first = lines.iter().position(|line| line.starts_with("ERROR"));
    let said = lines[first.unwrap_or(lines.len().saturating_sub(1))..].join("; ");
    match said.char_indices().nth(600) {
        Some((end, _)) => format!("{}...", &said[..end]),
        None if said.is_empty() => "it gave no reason".to_owned(),
        None => said,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let mut sleep = Command::new("sleep");
        let failure = run(sleep.arg("600"), Duration::from_millis(50), None);
        assert!(failure.is_err_and(|text| text.contains("not done")));
    }

    #[test]
    fn what_a_failed_program_says_is_told() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo one >&2; echo two >&2; echo >&2; exit 3"]);
        let failure = run(&mut shell, LIMIT, None);
        assert_eq!(failure, Err("sh: two".to_owned()));
        assert_eq!(reason("WARNING: a\n\nERROR: b\n  c\n"), "ERROR: b; c");
        assert_eq!(reason("\n"), "it gave no reason");
        assert_eq!(reason(&"é".repeat(700)).chars().count(), 603);
        let failure = run(&mut Command::new("no-such-program"), LIMIT, None);
        assert!(failure.is_err_and(|text| text.contains("cannot run no-such-program")));
    }
}
