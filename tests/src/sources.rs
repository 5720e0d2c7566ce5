//! What the source text of a package says of its structure: which modules use which.

use std::collections::{BTreeMap, BTreeSet};
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

/// Which top-level modules of a package use which, by their paths (`crate::NAME`). A name that the
/// root of the package re-exports is none of a module.
pub fn uses(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let module = |source: &Source| {
        let first = source.path.iter().next()?.to_str()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (!["lib", "main"].contains(&name)).then(|| name.to_owned())
    };
    let modules: BTreeSet<String> = sources.iter().filter_map(module).collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(from) = module(source) else {
            continue;
        };
        let mut names = names_after(&source.text, "crate::");
        // Of a module's first file this is the root of the package too.
        if source.path.iter().count() == 1 || source.path.ends_with("mod.rs") {
            names.extend(names_after(&source.text, "super::"));
        }
        names.retain(|name| modules.contains(*name) && **name != *from);
        uses.entry(from)
            .or_default()
            .extend(names.into_iter().map(str::to_owned));
    }
    uses
}

/// The names that follow `prefix` in `text`, also in a list (`crate::{a, b::{c, d}}`).
fn names_after<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.push(first_word(rest));
            continue;
        };
        let (mut depth, mut begin) = (0, 0);
        for (place, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    names.push(first_word(list[begin..place].trim_start()));
                    begin = place + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    names
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// Each circle among `uses` that a walk from module to module meets, as `a -> b -> a`.
pub fn circles(uses: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    fn walk<'a>(
        uses: &'a BTreeMap<String, BTreeSet<String>>,
        module: &'a str,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
        circles: &mut Vec<String>,
    ) {
        if let Some(at) = way.iter().position(|before| *before == module) {
            circles.push(format!("{} -> {module}", way[at..].join(" -> ")));
            return;
        }
        if done.contains(module) {
            return;
        }
        way.push(module);
        for next in uses.get(module).into_iter().flatten() {
            walk(uses, next, way, done, circles);
        }
        way.pop();
        done.insert(module);
    }
    let (mut done, mut circles) = (BTreeSet::new(), Vec::new());
    for module in uses.keys() {
        walk(uses, module, &mut Vec::new(), &mut done, &mut circles);
    }
    circles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: without_tests(text),
        }
    }

    #[test]
    fn circles_are_found_whatever_the_form_of_the_use() {
        let sources = [
            source("lib.rs", "mod a;\nmod b;\nmod c;\nuse crate::a::A;\n"),
            source(
                "a.rs",
                "use crate::{\n    Error,\n    b::{X, c::Y},\n    d,\n};\n",
            ),
            source("b/mod.rs", "mod inner;\nuse super::e::E;\n"),
            source("b/inner.rs", "use super::X;\nfn f() { crate::c::g() }\n"),
            source(
                "c.rs",
                "/// [`d`](crate::d)\nfn g() -> crate::a::A { todo!() }\n",
            ),
            source(
                "d.rs",
                "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\npub fn h() {}\n",
            ),
            source("e.rs", "#[cfg(test)]\nmod tests;\nuse crate::d;\n"),
        ];
        let uses = uses(&sources);
        let of = |name: &str| uses[name].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(of("a"), ["b", "d"]);
        assert_eq!(of("b"), ["c", "e"]);
        assert_eq!(of("c"), ["a"]);
        assert_eq!((of("d"), of("e")), (vec![], vec!["d"]));
        assert_eq!(circles(&uses), ["a -> b -> c -> a"]);
    }

    #[test]
    fn words_are_whole_words_of_code() {
        let text =
            without_tests("// Flex\nuse burn::backend::NdArray;\nlet x = Flexible::new();\n");
        assert_eq!(mentioned(&text, &["Flex", "NdArray"]), ["NdArray"]);
    }
}
