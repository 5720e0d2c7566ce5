//! The files of a crate form no circle: each can be read with nothing but the files that it uses.
//!
//! A file uses another when it names something that is defined there, directly or through a
//! re-export. Re-exports themselves are no uses (they say where a name is found), and neither are
//! unit tests. A folder's `mod.rs` is one room with the files in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Crates that still have circles.
const STILL_CIRCULAR: &[&str] = &[];

/// A module's path within its crate; the root's is empty.
type Module = Vec<String>;

/// The modules of a crate that have a file, with what each names and re-exports.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<Module, Names>,
}

#[derive(Default)]
struct Names {
    /// Paths from the crate's root.
    used: BTreeSet<Module>,
    /// By the name that is given on.
    reexported: BTreeMap<String, Module>,
}

impl Crate {
    fn read(src: &Path) -> Self {
        let mut texts = BTreeMap::new();
        for file in files(src) {
            let text = std::fs::read_to_string(&file).expect("a source is readable");
            let relative = file.strip_prefix(src).expect("it lies there");
            texts.insert(module(relative), text);
        }
        Self::parse(&texts)
    }

    fn parse(texts: &BTreeMap<Module, String>) -> Self {
        let known: BTreeSet<Module> = texts.keys().cloned().collect();
        let parse =
            |(module, text): (&Module, &String)| (module.clone(), names(module, text, &known));
        Self {
            modules: texts.iter().map(parse).collect(),
        }
    }

    /// The module whose file defines what `path` leads to.
    fn definer(&self, path: &[String]) -> Module {
        let longest = (0..=path.len())
            .rev()
            .find(|n| self.modules.contains_key(&path[..*n]));
        let (module, rest) = path.split_at(longest.expect("the root is a module"));
        let target = rest
            .first()
            .and_then(|name| self.modules[module].reexported.get(name));
        match target {
            Some(target) if *target != path => self.definer(target),
            _ => module.to_vec(),
        }
    }

    /// Which files each file uses. The root is left out: it declares and re-exports.
    fn uses(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let of = |(module, names): (&Module, &Names)| {
            let used = names.used.iter().map(|path| self.definer(path));
            // A folder's `mod.rs` and the files in it are one room: it composes them of what it
            // defines for them.
            let inside = |used: &Module| !module.is_empty() && used.starts_with(module);
            used.filter(|used| !used.is_empty() && !inside(used))
                .collect()
        };
        self.modules
            .iter()
            .map(|entry| (entry.0, of(entry)))
            .collect()
    }

    /// The files of one circle, if there is any.
    fn circle(&self) -> Option<Vec<String>> {
        let mut uses = self.uses();
        // A file that uses nothing that is left is in no circle.
        while let Some(end) = uses
            .iter()
            .find(|(_, used)| used.is_empty())
            .map(|(m, _)| (*m).clone())
        {
            uses.remove(&end);
            for used in uses.values_mut() {
                used.remove(&end);
            }
        }
        // All that are left use one that is left, so going on comes back.
        let mut way = vec![*uses.keys().next()?];
        loop {
            let next = uses[way[way.len() - 1]].first().expect("none is empty");
            if let Some(begin) = way.iter().position(|module| *module == next) {
                let circle = way[begin..].iter().chain([&next]);
                return Some(circle.map(|module| module.join("::")).collect());
            }
            way.push(next);
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in folder.read_dir().expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_of_modules(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// As [`files`], without the tests that have a file of their own.
fn files_of_modules(folder: &Path) -> Vec<PathBuf> {
    let mut files = files(folder);
    files.retain(|file| file.file_name().is_some_and(|name| name != "tests.rs"));
    files
}

fn module(file: &Path) -> Module {
    let mut module: Module = file
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if ["mod", "lib", "main"].contains(&module[module.len() - 1].as_str()) {
        module.pop();
    }
    module
}

/// What the text of `module` names of its own crate.
fn names(module: &[String], text: &str, known: &BTreeSet<Module>) -> Names {
    let code: String = text
        .lines()
        .take_while(|line| *line != "mod tests {")
        .map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n")
        .collect();
    let mut names = Names::default();
    let mut rest = code.as_str();
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let word = identifier(rest);
        let start = code.len() - rest.len();
        let child = || known.contains(&[module, &[word.to_owned()]].concat());
        let leads = ["crate", "self", "super"].contains(&word) || child();
        if leads && rest[word.len()..].starts_with("::") && !is_part(before) && before != ':' {
            let mut paths = Vec::new();
            tree(rest, &[], &mut paths);
            for path in paths {
                let Some(path) = from_root(module, &path) else {
                    continue;
                };
                match path.last() {
                    Some(name) if is_reexport(&code[..start]) => {
                        names.reexported.insert(name.clone(), path);
                    }
                    _ => _ = names.used.insert(path),
                }
            }
        }
        let step = word.len().max(first.len_utf8());
        before = rest[..step].chars().last().unwrap_or(' ');
        rest = &rest[step..];
    }
    names
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn identifier(text: &str) -> &str {
    &text[..text.find(|c| !is_part(c)).unwrap_or(text.len())]
}

/// Whether a path after `code` belongs to a `pub use`.
fn is_reexport(code: &str) -> bool {
    let statement = code
        .rsplit([';', '{', '}', ']'])
        .next()
        .unwrap_or_default()
        .trim();
    statement.starts_with("pub") && statement.ends_with("use")
}

/// Adds the paths of the tree that `text` begins with, such as `a::{b, c::d}`, behind `prefix`;
/// returns what comes after the tree.
fn tree<'a>(text: &'a str, prefix: &[String], paths: &mut Vec<Module>) -> &'a str {
    let word = identifier(text);
    let mut path = prefix.to_vec();
    if word != "self" || prefix.is_empty() {
        path.push(word.to_owned());
    }
    let rest = &text[word.len()..];
    match rest.strip_prefix("::") {
        Some(rest) if rest.starts_with(is_part) => tree(rest, &path, paths),
        Some(rest) if rest.starts_with('{') => {
            let mut rest = rest[1..].trim_start();
            while !rest.is_empty() && !rest.starts_with('}') {
                rest = tree(rest, &path, paths);
                // What follows a name: a comma, `as`, or the end.
                let end = rest.find([',', '}']).unwrap_or(rest.len());
                rest = rest[end..].trim_start_matches(',').trim_start();
            }
            rest.strip_prefix('}').unwrap_or(rest)
        }
        _ => {
            paths.push(path);
            rest
        }
    }
}

/// `path`, as it stands in `module`, from the root; nothing where it leads out of the crate.
fn from_root(module: &[String], path: &[String]) -> Option<Module> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let (base, rest) = match path[0].as_str() {
        "crate" => (&[][..], &path[1..]),
        "self" => (module, &path[1..]),
        "super" => (&module[..module.len().checked_sub(ups)?], &path[ups..]),
        _ => (module, path),
    };
    Some([base, rest].concat())
}

#[test]
fn the_files_of_a_crate_form_no_circle() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let (mut circles, mut uses) = (Vec::new(), 0);
    for entry in crates.read_dir().expect("the crates").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if STILL_CIRCULAR.contains(&name.as_str()) {
            continue;
        }
        let parsed = Crate::read(&entry.path().join("src"));
        uses += parsed.uses().values().map(BTreeSet::len).sum::<usize>();
        if let Some(circle) = parsed.circle() {
            circles.push(format!("{name}: {}", circle.join(" -> ")));
        }
    }
    assert_eq!(circles, Vec::<String>::new());
    assert!(
        uses > 100,
        "the files of all crates use each other {uses} times only"
    );
}

fn parsed(texts: &[(&str, &str)]) -> Crate {
    let texts = texts
        .iter()
        .map(|(file, text)| (module(Path::new(file)), (*text).to_owned()));
    Crate::parse(&texts.collect())
}

#[test]
fn a_circle_is_named_however_it_is_written() {
    let lib = (
        "lib.rs",
        "mod a;\nmod b;\npub use b::{B as Bee, other::C, B};",
    );
    for (a, b, circular) in [
        ("use crate::b::B;", "use crate::a::{self, A};", true),
        ("use crate::{X, B};", "fn f() { super::a::f() }", true),
        (
            "use crate::b::B;",
            "// use crate::a::A;\nuse std::a;",
            false,
        ),
        (
            "use crate::B;",
            "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}",
            false,
        ),
        (
            "use crate::b::{\n    B,\n};",
            "pub(crate) use crate::a::A;",
            false,
        ),
    ] {
        let circle = parsed(&[lib, ("a.rs", a), ("b/mod.rs", b)]).circle();
        assert_eq!(circle.is_some(), circular, "{a} {b}: {circle:?}");
    }
    let parent = "mod child;\nfn f() { child::g() }";
    let child = |text| {
        parsed(&[
            ("lib.rs", "mod p;"),
            ("p/mod.rs", parent),
            ("p/child.rs", text),
        ])
    };
    assert_eq!(child("use std::fmt;").circle(), None);
    assert_eq!(child("use super::f;").circle(), None, "one room");
}
