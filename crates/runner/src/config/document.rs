//! The complete configuration of an algorithm as a text that explains itself.

use std::fmt::Write as _;

use super::schema::Schema;
use super::{Config, Request, resolve};
use crate::RunError;

/// Columns of a comment.
const WIDTH: usize = 96;

/// A configuration file with every key at its default (under what `request` names beside a task),
/// each behind a comment on what it is for. It names no task and no key of a task, so that
/// `train --config FILE --env ANY` takes it.
///
/// # Errors
/// When there is no such algorithm or the request is wrong otherwise.
pub fn document(request: &Request) -> Result<String, RunError> {
    let config = resolve(&Request {
        // A task without settings of its own.
        env: Some("HalfCheetah-v4".to_owned()),
        ..request.clone()
    })?;
    Ok(written(&config))
}

fn written(config: &Config) -> String {
    let mut text = format!("# {}.\n", config.agent.settings.algorithm.about);
    let mut table = "";
    let schema = Schema::of(config);
    let mut keys: Vec<_> = schema.keys.iter().collect();
    // A table's own keys stand before the tables within it.
    keys.sort_by_key(|key| {
        let (table, _) = key.path.rsplit_once('.').unwrap_or_default();
        let order = ["", "agent", "training", "replay", "evaluation", "task"];
        let first = table.split('.').next().unwrap_or_default();
        (
            order.iter().position(|name| *name == first),
            table.to_owned(),
        )
    });
    for key in keys {
        let Some(value) = &key.default else { continue };
        let (of, name) = key.path.rsplit_once('.').unwrap_or(("", &key.path));
        if name == "env" || of == "task" {
            continue;
        }
        if of != table {
            let _ = write!(text, "\n[{of}]");
            table = of;
        }
        text.push('\n');
        for line in key.about.lines() {
            comment(&mut text, line);
        }
        let _ = writeln!(text, "{name} = {value}");
    }
    text
}

/// Appends `line` as a comment, broken between words.
fn comment(text: &mut String, line: &str) {
    let mut column = 0;
    for word in line.split_whitespace() {
        if column == 0 {
            text.push_str("# ");
        } else if column + word.len() > WIDTH {
            text.push_str("\n# ");
            column = 0;
        } else {
            text.push(' ');
        }
        text.push_str(word);
        column += word.len() + 1;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use rescore_agents::Algorithm;

    use super::*;

    /// The text is a configuration file of the very settings that it was written from.
    #[test]
    fn the_document_is_the_configuration() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for algorithm in Algorithm::all() {
            let set = ["gamma=0.5".to_owned()];
            let text = document(&Request {
                algo: Some(algorithm.name.to_owned()),
                set: set.to_vec(),
                ..Request::default()
            })
            .expect("a known algorithm");
            let file = folder.path().join("my.toml");
            std::fs::write(&file, &text).expect("writable");
            for env in ["HalfCheetah-v4", "Reacher-v5"] {
                let read = |config_file, set: &[String]| {
                    resolve(&Request {
                        config_file,
                        algo: Some(algorithm.name.to_owned()),
                        env: Some(env.to_owned()),
                        set: set.to_vec(),
                        ..Request::default()
                    })
                };
                let stated = read(Some(file.clone()), &[]).expect("a valid file");
                assert_eq!(stated, read(None, &set).expect("valid"), "{text}");
            }
            let commented = text.lines().filter(|line| line.contains(" = "));
            assert!(commented.count() > 20, "{text}");
        }
    }

    #[test]
    fn an_unknown_algorithm_is_named() {
        let error = document(&Request {
            algo: Some("dpdm".to_owned()),
            ..Request::default()
        })
        .expect_err("no such algorithm");
        assert!(error.hint().is_some_and(|hint| hint.contains("dpmd")));
    }
}
