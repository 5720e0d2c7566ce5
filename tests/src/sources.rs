//! What the source text of a package says of its structure: the names that it mentions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One source file, without comments and tests.
#[derive(Debug, Clone)]
pub struct Source {
    /// Relative to the folder that was looked through.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// All Rust files below `folder` that are no tests.
///
/// # Panics
/// When one cannot be read.
pub fn sources(folder: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        let entries = std::fs::read_dir(&inner);
        for entry in entries.unwrap_or_else(|error| panic!("{}: {error}", inner.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs")
                && !path.ends_with("tests.rs")
            {
                let text = crate::program::read(&path);
                found.push(Source {
                    path: path.strip_prefix(folder).expect("below it").to_owned(),
                    text: without_tests(&text),
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// `text` without lines of comments, and without the modules that are compiled for tests only (as
/// rustfmt lays them out).
fn without_tests(text: &str) -> String {
    let mut lines = text.lines();
    let mut kept = String::new();
    while let Some(line) = lines.next() {
        if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            let is_block = lines.next().is_some_and(|module| module.ends_with('{'));
            if is_block {
                lines.by_ref().find(|line| *line == "}");
            }
        } else if !line.trim_start().starts_with("//") {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

/// The words of `text` that are among `words`.
pub fn mentioned<'a>(text: &str, words: &[&'a str]) -> Vec<&'a str> {
    let is_part = |c: char| !c.is_alphanumeric() && c != '_';
    let found: BTreeSet<&str> = text.split(is_part).collect();
    let all = words.iter().copied();
    all.filter(|word| found.contains(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole_words_of_code() {
        let text =
            without_tests("// Flex\nuse burn::backend::NdArray;\nlet x = Flexible::new();\n");
        assert_eq!(mentioned(&text, &["Flex", "NdArray"]), ["NdArray"]);
    }
}
