//! The command that goes on with a run or a sweep, as the user can type it.

use std::path::Path;

/// Names the command that the user typed instead of this program's, where another program
/// (`cargo xtask`) has started this one.
const VARIABLE: &str = "RESCORE_COMMAND";

/// `PROGRAM train --resume RUN OPTIONS`, for the folder in which this process stands. The options
/// are words that need no quotes.
pub fn command(run: &Path, options: &[&str]) -> Vec<u8> {
    let mut command = program();
    command.extend(b" train --resume ");
    command.extend(folder(run));
    for option in options {
        command.push(b' ');
        command.extend(option.as_bytes());
    }
    command
}

/// `PROGRAM sweep run SWEEP --jobs N`, likewise.
pub fn sweep(sweep: &Path, jobs: usize) -> Vec<u8> {
    let mut command = program();
    command.extend(b" sweep run ");
    command.extend(folder(sweep));
    command.extend(format!(" --jobs {jobs}").as_bytes());
    command
}

/// What the user calls this program.
fn program() -> Vec<u8> {
    let started_by = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
    started_by.map_or_else(
        || {
            let program = std::env::args_os().next().unwrap_or_default();
            let named = !program.is_empty();
            quoted(if named {
                program.as_encoded_bytes()
            } else {
                b"rescore"
            })
        },
        // These may be several words.
        std::ffi::OsString::into_encoded_bytes,
    )
}

/// A folder, which must not be taken for an option.
fn folder(path: &Path) -> Vec<u8> {
    let path = path.as_os_str().as_encoded_bytes();
    let prefix: &[u8] = if path.starts_with(b"-") { b"./" } else { b"" };
    quoted(&[prefix, path].concat())
}

/// `word` for a POSIX shell, or as it is where a shell has no words for it.
fn quoted(word: &[u8]) -> Vec<u8> {
    shlex::bytes::try_quote(word).map_or_else(|_| word.to_vec(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_quoted_for_a_shell() {
        let ends = |run: &str, end: &str| {
            let command = command(Path::new(run), &["--set", "lr=1e-4"]);
            let text = String::from_utf8(command).expect("text");
            let end = format!(" train --resume {end} --set lr=1e-4");
            assert!(text.ends_with(&end), "{text}");
        };
        ends("runs/first", "runs/first");
        ends("my runs/it's", "\"my runs/it's\"");
        ends("-run", "./-run");
        let command = String::from_utf8(sweep(Path::new("my sweep"), 3)).expect("text");
        assert!(
            command.ends_with(" sweep run 'my sweep' --jobs 3"),
            "{command}"
        );
    }
}
