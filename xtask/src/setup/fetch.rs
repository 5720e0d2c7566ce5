//! Fetching: wheels by pip, or single files by curl where there is no pip.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::files::sha256_file;
use super::manifest::Manifest;

/// What went wrong on one route; the caller shows it only if no route worked.
pub type Attempt<T> = Result<T, String>;

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
        Command::new(pip[0])
            .args(&pip[1..])
            .arg("--version")
            .output()
            .is_ok_and(|out| out.status.success())
    })
}

/// Downloads one wheel into `into` and checks its hash. `tags` say for which platform and Python
/// the wheel is, so that any Python with pip can fetch it.
fn wheel(requirement: &str, tags: &[&str], file: &str, sha256: &str, into: &Path) -> Attempt<()> {
    let pip = pip().ok_or("no Python with pip was found")?;
    eprintln!("fetching {file}");
    run(Command::new(pip[0])
        .args(&pip[1..])
        .args([
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ])
        .args(["--no-deps", "--only-binary=:all:"])
        .args(["--retries", "1", "--timeout", "15"])
        .args(tags)
        .arg("--dest")
        .arg(into)
        .arg(requirement))?;
    verify(&into.join(file), sha256)
}

/// A way to fetch what is missing.
pub trait Route {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Fetches the library into `into`: a wheel, or a folder as [`super::source`] understands it.
    ///
    /// # Errors
    /// Why it did not work.
    fn library(&self, manifest: &Manifest, into: &Path) -> Attempt<()>;

    /// Fetches these models into `into`, likewise.
    ///
    /// # Errors
    /// Why it did not work.
    fn models(&self, manifest: &Manifest, names: &[String], into: &Path) -> Attempt<()>;
}

/// Wheels, with the hashes of `mujoco.toml`.
pub struct Pip;

impl Route for Pip {
    fn name(&self) -> &'static str {
        "pip"
    }

    fn library(&self, manifest: &Manifest, into: &Path) -> Attempt<()> {
        let platform = manifest
            .this_platform()
            .ok_or("there is no wheel for this platform")?;
        wheel(
            &format!("mujoco=={}", manifest.mujoco.version),
            &[
                "--platform",
                &platform.pip_tag,
                "--implementation",
                "cp",
                "--python-version",
                "3.12",
                "--abi",
                "cp312",
            ],
            &platform.wheel,
            &platform.wheel_sha256,
            into,
        )
    }

    fn models(&self, manifest: &Manifest, _names: &[String], into: &Path) -> Attempt<()> {
        let models = &manifest.models;
        wheel(
            &format!("gymnasium=={}", models.version),
            // Pure Python, but its metadata asks for a Python that this machine may not have.
            &["--python-version", "3.12"],
            &models.wheel,
            &models.wheel_sha256,
            into,
        )
    }
}

/// The release's archive, with the hash published beside it, and single models with the hashes of
/// `mujoco.toml`. For machines without pip.
pub struct Curl;

impl Route for Curl {
    fn name(&self) -> &'static str {
        "curl"
    }

    fn library(&self, manifest: &Manifest, into: &Path) -> Attempt<()> {
        if std::env::consts::OS != "linux" {
            return Err("releases are only unpacked automatically on Linux".to_owned());
        }
        let url = manifest
            .mujoco
            .release_url
            .replace("{version}", &manifest.mujoco.version)
            .replace("{arch}", std::env::consts::ARCH);
        let archive = into.join("mujoco.tar.gz");
        let published = into.join("mujoco.tar.gz.sha256");
        eprintln!("fetching {url}");
        curl(&format!("{url}.sha256"), &published)?;
        let text = fs::read_to_string(&published).map_err(|e| e.to_string())?;
        let hash = text.split_whitespace().next().unwrap_or_default();
        curl(&url, &archive)?;
        verify(&archive, &hash.to_lowercase())?;
        run(Command::new("tar")
            .arg("-xzf")
            .arg(&archive)
            .arg("-C")
            .arg(into)
            .arg("--strip-components=1"))
    }

    fn models(&self, manifest: &Manifest, names: &[String], into: &Path) -> Attempt<()> {
        let models = &manifest.models;
        for name in names {
            let url = models
                .file_url
                .replace("{version}", &models.version)
                .replace("{file}", name);
            let path = into.join(name);
            eprintln!("fetching {url}");
            curl(&url, &path)?;
            verify(&path, models.sha256.get(name).map_or("", String::as_str))?;
        }
        Ok(())
    }
}

fn curl(url: &str, to: &Path) -> Attempt<()> {
    run(Command::new("curl")
        .args(["--fail", "--silent", "--show-error", "--location"])
        .args(["--retry", "1", "--connect-timeout", "15", "--output"])
        .arg(to)
        .arg(url))
}

fn verify(path: &Path, sha256: &str) -> Attempt<()> {
    let found = sha256_file(path).map_err(|e| e.message)?;
    if found == sha256 {
        return Ok(());
    }
    // Nothing that failed the check may stay where the caller looks for what arrived.
    let _ = fs::remove_file(path);
    Err(format!(
        "{} has SHA-256 {found}, expected {sha256}",
        path.file_name().unwrap_or_default().to_string_lossy()
    ))
}

fn run(command: &mut Command) -> Attempt<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| format!("cannot run {program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or("it gave no reason");
    Err(format!("{program}: {last}"))
}
