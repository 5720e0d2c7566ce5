//! Files that a user names for results: `--out` of `plot` and `render`, `--json` of `bench`.
//!
//! Such a file may replace an older result of its kind. It never replaces anything else, and never
//! lies among the files that a run itself reads and writes.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use crate::StoreError;
use crate::names;

/// Endings of drawings.
pub const PICTURES: &[&str] = &["svg", "png"];
/// Endings of films.
pub const FILMS: &[&str] = &["gif", "mp4"];

/// As much of a file as its kind is told by. (An SVG file may begin with a comment.)
const BEGINNING: u64 = 4096;
/// Folders that the run alone writes to.
const RUN_FOLDERS: [&str; 3] = [names::CHECKPOINTS, names::REPLAY, names::TENSORBOARD];
/// Files of a run that hold JSON or may be created later, so that their content does not tell.
const RUN_FILES: [&str; 8] = [
    names::CONFIG,
    names::MANIFEST,
    names::METRICS,
    names::EVALUATIONS,
    names::CRASH,
    names::LOCK,
    names::DONE,
    names::PRUNED,
];

/// The ending of `path` in lower case, which must be one of `endings`: the kind of picture or film
/// that is to be written there.
///
/// # Errors
/// [`StoreError::Refused`] for another ending, for a file that is there already and is neither a
/// picture nor a film, and for a file among those of a run.
pub fn picture(path: &Path, endings: &[&'static str]) -> Result<&'static str, StoreError> {
    let found = path.extension().unwrap_or_default().to_string_lossy();
    let known = endings
        .iter()
        .find(|ending| ending.eq_ignore_ascii_case(&found));
    let Some(ending) = known else {
        let listed: Vec<_> = endings.iter().map(|ending| format!(".{ending}")).collect();
        let listed = listed.join(" or ");
        return Err(StoreError::refused(
            format!("{} does not end in {listed}", path.display()),
            format!("the ending of --out chooses the format: {listed}"),
        ));
    };
    outside_of_runs(path)?;
    replaceable(path, "a picture or a film", is_picture)?;
    Ok(ending)
}

/// Requires that an exported policy may be written to `path`.
///
/// # Errors
/// [`StoreError::Refused`] for another ending than `.safetensors`, for a file that is there already
/// and is no exported policy, and for a file among those of a run.
pub fn policy(path: &Path) -> Result<(), StoreError> {
    let ending = path.extension().unwrap_or_default();
    if !ending.eq_ignore_ascii_case("safetensors") {
        return Err(StoreError::refused(
            format!("{} does not end in .safetensors", path.display()),
            "a policy is exported as a file of tensors: --out policy.safetensors",
        ));
    }
    outside_of_runs(path)?;
    replaceable(path, "an exported policy", |beginning| {
        let known = b"\"rescore\":";
        beginning.windows(known.len()).any(|window| window == known)
    })
}

/// Requires that results may be written to `path` as a JSON array.
///
/// # Errors
/// [`StoreError::Refused`] when a file is there already that is no JSON array, and for a file among
/// those of a run.
pub fn json_array(path: &Path) -> Result<(), StoreError> {
    outside_of_runs(path)?;
    replaceable(path, "a JSON array of results", |beginning| {
        let text = beginning.trim_ascii_start();
        text.first() == Some(&b'[') && text[1..].trim_ascii_start().first() == Some(&b'{')
    })
}

/// Requires that there is no file at `path`, or an empty one, or one whose beginning `is_known`.
fn replaceable(
    path: &Path,
    kind: &str,
    is_known: impl FnOnce(&[u8]) -> bool,
) -> Result<(), StoreError> {
    let refused = |what: &str| {
        Err(StoreError::refused(
            format!("{} is {what}", path.display()),
            "choose another name; only an older result of the same kind is replaced",
        ))
    };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        // Whether it can be created is found out when it is.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    if !metadata.is_file() {
        return refused("there already and not a regular file");
    }
    let mut beginning = Vec::new();
    File::open(path)
        .and_then(|file| file.take(BEGINNING).read_to_end(&mut beginning))
        .map_err(StoreError::io("read", path))?;
    if beginning.is_empty() || is_known(&beginning) {
        return Ok(());
    }
    refused(&format!("there already and not {kind}"))
}

/// Whether a file begins like an SVG, PNG, GIF or MP4 file.
fn is_picture(beginning: &[u8]) -> bool {
    beginning.starts_with(b"\x89PNG\r\n\x1a\n")
        || beginning.starts_with(b"GIF8")
        || beginning.get(4..8) == Some(b"ftyp")
        || is_svg(beginning)
}

/// Whether the first element of an XML text is `svg`.
fn is_svg(beginning: &[u8]) -> bool {
    let text = String::from_utf8_lossy(beginning);
    let mut text = text.trim_start_matches('\u{feff}').trim_start();
    // What may stand before the first element: declarations, comments, a document type.
    for (begin, end) in [
        ("<?", "?>"),
        ("<!--", "-->"),
        ("<!DOCTYPE svg", ">"),
        ("<!--", "-->"),
    ] {
        while let Some(rest) = text.strip_prefix(begin) {
            let Some(at) = rest.find(end) else {
                return false;
            };
            text = rest[at + end.len()..].trim_start();
        }
    }
    text.starts_with("<svg")
}

/// Requires that `path` is none of the files of a run and does not lie in one of its folders.
fn outside_of_runs(path: &Path) -> Result<(), StoreError> {
    let folder = crate::durable::parent(path);
    // A folder that is not there yet is no run's.
    let Ok(folder) = folder.canonicalize() else {
        return Ok(());
    };
    let is_run = |folder: &Path| folder.join(names::CONFIG).exists();
    let refused = |run: &Path| {
        Err(StoreError::refused(
            format!(
                "{} is among the files of the run {}",
                path.display(),
                run.display()
            ),
            "choose another name or folder",
        ))
    };
    let name = path.file_name().unwrap_or_default();
    if RUN_FILES.iter().any(|file| name.eq_ignore_ascii_case(file)) && is_run(&folder) {
        return refused(&folder);
    }
    for inner in folder.ancestors() {
        let is_own = inner
            .file_name()
            .is_some_and(|name| RUN_FOLDERS.iter().any(|folder| name == *folder));
        if let Some(run) = inner.parent().filter(|run| is_own && is_run(run)) {
            return refused(run);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    #[test]
    fn only_pictures_are_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.svg");
        assert_eq!(picture(&path, PICTURES).expect("nothing is there"), "svg");
        for (content, replaced) in [
            (&b"<svg width=\"1\"/>"[..], true),
            (b"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- by hand -->\n<!DOCTYPE svg PUBLIC \"x\">\n<svg/>", true),
            (PNG, true),
            (b"GIF89a...", true),
            (b"\0\0\0\x20ftypisom", true),
            (b"", true),
            (b"step,episodes,mean_return\n", false),
            (b"<html><svg/></html>", false),
            (b"<!-- <svg/>", false),
            (b"notes about <svg", false),
        ] {
            std::fs::write(&path, content).expect("writable");
            let error = picture(&path, PICTURES).err();
            let text = String::from_utf8_lossy(content);
            assert_eq!(error.is_none(), replaced, "{text}: {error:?}");
            assert!(error.is_none_or(|error| error.exit_code() == 2), "{text}");
            assert_eq!(std::fs::read(&path).expect("still there"), content);
        }
        std::fs::remove_file(&path).expect("there");
        std::fs::create_dir(&path).expect("writable");
        assert!(picture(&path, PICTURES).is_err(), "a folder");
    }

    #[test]
    fn the_ending_decides() {
        assert_eq!(
            picture(Path::new("no-such-folder/a.PNG"), PICTURES).expect("known"),
            "png"
        );
        for name in ["a", "a.jpg", "eval.csv", ".svg", "a.svg.gz", ""] {
            let error = picture(Path::new(name), PICTURES).expect_err(name);
            assert_eq!(error.exit_code(), 2, "{name}");
            assert!(error.to_string().contains(".svg or .png"), "{error}");
        }
    }

    #[test]
    fn the_files_of_a_run_are_not_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = folder.path().join("run");
        let inner = run.join("checkpoints/100");
        std::fs::create_dir_all(&inner).expect("writable");
        std::fs::create_dir(run.join(names::TENSORBOARD)).expect("writable");
        // No run yet: anybody's folders.
        assert!(picture(&inner.join("x.png"), PICTURES).is_ok());
        assert!(json_array(&run.join("crash.json")).is_ok());
        std::fs::write(run.join(names::CONFIG), "").expect("writable");
        for name in [
            "checkpoints/100/x.png",
            "checkpoints/x.svg",
            "checkpoints/../checkpoints/x.svg",
            "tensorboard/x.svg",
        ] {
            let error = picture(&run.join(name), PICTURES).expect_err(name);
            assert!(error.to_string().contains("among the files"), "{error}");
        }
        assert!(picture(&run.join("curve.svg"), PICTURES).is_ok());
        for name in [
            "crash.json",
            "DONE",
            "manifest.json",
            "config.toml",
            "checkpoints/best.json",
        ] {
            let error = json_array(&run.join(name)).expect_err(name);
            assert_eq!(error.exit_code(), 2, "{name}");
        }
        let results = run.join("results.json");
        assert!(json_array(&results).is_ok());
        for (text, replaced) in [
            (" [\n {\"a\": 1}]", true),
            ("{\"a\": 1}", false),
            ("[1]", false),
        ] {
            std::fs::write(&results, text).expect("writable");
            assert_eq!(json_array(&results).is_ok(), replaced, "{text}");
        }
    }
}
