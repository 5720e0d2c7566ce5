//! The `[task]` table: how the task is set up.

use std::collections::BTreeMap;

use rescore_envs::{EnvError, OptionValue, TaskEntry, TaskSettings};
use serde::{Serialize, Serializer};

const TIME_LIMIT: &str = "time_limit";

/// The settings of a task when nobody sets anything, each of its options included. (Actions are
/// always in units of [-1, 1], because that is what agents act in.)
pub fn defaults(entry: &TaskEntry) -> TaskSettings {
    TaskSettings {
        time_limit: entry.time_limit,
        options: entry
            .adjustable_options()
            .map(|option| (option.name.to_owned(), option.default.value()))
            .collect(),
        ..TaskSettings::default()
    }
}

/// The table that [`from_table`] reads. A task without a time limit has the time limit 0.
pub fn serialize<S: Serializer>(settings: &TaskSettings, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Flat<'a> {
        time_limit: u32,
        #[serde(flatten)]
        options: &'a BTreeMap<String, OptionValue>,
    }
    let flat = Flat {
        time_limit: settings.time_limit.unwrap_or(0),
        options: &settings.options,
    };
    flat.serialize(serializer)
}

/// Reads a complete table. The error is the message alone.
pub fn from_table(entry: &TaskEntry, table: toml::Value) -> Result<TaskSettings, String> {
    let message = |error: toml::de::Error| error.message().trim().to_owned();
    let mut table: toml::Table = table.try_into().map_err(message)?;
    let mut take = |key: &str| {
        table
            .remove(key)
            .ok_or_else(|| format!("`{key}` is missing"))
    };
    let limit: u32 = take(TIME_LIMIT)?.try_into().map_err(message)?;
    if limit == 0 && entry.time_limit.is_some() {
        return Err("must be at least 1 step".to_owned());
    }
    let options = table
        .into_iter()
        .map(|(name, value)| {
            let kinds = "true or false, a number, an array of two numbers or a text";
            let wrong = format!("{value}, but must be {kinds}");
            Ok((name, value.try_into().map_err(|_| wrong)?))
        })
        .collect::<Result<_, String>>()?;
    let options = entry
        .resolve_options(&options)
        .map_err(|error| match error {
            EnvError::InvalidOption {
                value, expected, ..
            } => format!("{value}, but must be {expected}"),
            other => other.to_string(),
        })?;
    Ok(TaskSettings {
        time_limit: (limit > 0).then_some(limit),
        options,
        ..TaskSettings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_every_task_comes_back() {
        #[derive(Serialize)]
        struct Whole {
            #[serde(serialize_with = "serialize")]
            task: TaskSettings,
        }
        for entry in rescore_envs::list() {
            let settings = defaults(&entry);
            let text = toml::to_string(&Whole {
                task: settings.clone(),
            });
            let mut table: toml::Table =
                toml::from_str(&text.expect("TOML can express it")).expect("just written");
            let task = table.remove("task").expect("just written");
            assert_eq!(from_table(&entry, task), Ok(settings), "{}", entry.name);
        }
    }
}
