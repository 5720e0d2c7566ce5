//! The file of a sweep, and the combinations that it stands for.

use std::collections::BTreeMap;

use crate::config::{ConfigError, Origin, Setting, parse_toml, unknown_name};

const ALGORITHMS: &str = "algorithms";
const TASKS: &str = "tasks";
const SEEDS: &str = "seeds";
const STEPS: &str = "steps";
const PRESET: &str = "preset";
/// Before the keys of the table `[set]`.
const SET: &str = "set.";
/// Before the name of an algorithm and the keys of its own table.
const ALGORITHM: &str = "algorithm.";

/// Keys of the file, as an error lists them.
const KEYS: [&str; 7] = [
    ALGORITHMS,
    TASKS,
    SEEDS,
    STEPS,
    PRESET,
    "[set]",
    "[algorithm.NAME]",
];

/// Keys of a configuration that have a key of their own in the file of a sweep.
const OWN_KEYS: [(&str, &str); 6] = [
    ("algo", ALGORITHMS),
    ("env", TASKS),
    ("seed", SEEDS),
    ("steps", STEPS),
    ("preset", PRESET),
    ("agent.preset", PRESET),
];

/// More runs than anybody means.
const MOST_RUNS: usize = 100_000;

/// What a user asks for: every combination of these is a run.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepFile {
    /// Names of algorithms.
    pub algorithms: Vec<String>,
    /// Names of tasks.
    pub tasks: Vec<String>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Environment steps of each run.
    pub steps: u64,
    /// Preset of all algorithms, where it is not the default.
    pub preset: Option<String>,
    /// Values of keys of the configuration, in the order of the file.
    set: Vec<Choice>,
    /// Name of the file.
    name: String,
    /// Where each key stands.
    origins: BTreeMap<String, Origin>,
}

/// A key of the configuration with its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The only algorithm that it is for.
    algorithm: Option<String>,
    /// Its path, or the end of it where that is unique.
    pub key: String,
    /// At least one.
    pub values: Vec<toml::Value>,
    /// Whether they stood in a list.
    is_list: bool,
}

impl Choice {
    /// The list of values as one value, where there is one.
    pub fn as_one_value(&self) -> Option<toml::Value> {
        self.is_list
            .then(|| toml::Value::Array(self.values.clone()))
    }
}

impl SweepFile {
    /// Reads the text of the file called `name`.
    ///
    /// # Errors
    /// When it is not TOML, a key is unknown, missing or of a wrong kind, a list is empty, or there
    /// are more runs than anybody means. The error names line and column.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let mut file = Self {
            algorithms: Vec::new(),
            tasks: Vec::new(),
            seeds: Vec::new(),
            steps: 0,
            preset: None,
            set: Vec::new(),
            name: name.to_owned(),
            origins: BTreeMap::new(),
        };
        for setting in parse_toml(name, text)? {
            match setting.key.as_str() {
                ALGORITHMS => file.algorithms = list(&setting, "names", text_of)?,
                TASKS => file.tasks = list(&setting, "names", text_of)?,
                SEEDS => file.seeds = list(&setting, "whole numbers from 0", number_of)?,
                STEPS => {
                    let steps = number_of(&setting.value).filter(|steps| *steps > 0);
                    file.steps = steps.ok_or_else(|| wrong(&setting, "a whole number from 1"))?;
                }
                PRESET => {
                    let preset = text_of(&setting.value);
                    file.preset = Some(preset.ok_or_else(|| wrong(&setting, "a name"))?);
                }
                key => {
                    let own = key
                        .strip_prefix(ALGORITHM)
                        .and_then(|key| key.split_once('.'));
                    let (algorithm, key) = match (key.strip_prefix(SET), own) {
                        (Some(key), _) => (None, key),
                        (None, Some((algorithm, key))) => (Some(algorithm), key),
                        (None, None) if key.starts_with("algorithm.") || key == "algorithm" => {
                            let message = format!("`{key}` is no setting of an algorithm");
                            return Err(ConfigError::new(&setting, message).with_hint(
                                "a table [algorithm.NAME] holds keys of one algorithm",
                            ));
                        }
                        (None, None) => return Err(unknown_name(&setting, "key", key, &KEYS)),
                    };
                    file.set.push(choice(algorithm, key, &setting)?);
                }
            }
            file.origins.insert(setting.key, setting.origin);
        }
        for key in [ALGORITHMS, TASKS, SEEDS, STEPS] {
            if !file.origins.contains_key(key) {
                return Err(file.error(None, format!("`{key}` is missing")).with_hint(
                    "a sweep has the lists `algorithms`, `tasks` and `seeds`, the number `steps`, and \
                     perhaps `preset` and a table [set]",
                ));
            }
        }
        for choice in &file.set {
            let Some(algorithm) = &choice.algorithm else {
                continue;
            };
            if !file.algorithms.contains(algorithm) {
                let key = format!("{ALGORITHM}{algorithm}.{}", choice.key);
                let message = format!("`{algorithm}` is none of the algorithms of this sweep");
                let hint = format!("they are {}", file.algorithms.join(", "));
                return Err(file.error(Some(&key), message).with_hint(hint));
            }
        }
        match file.number_of_runs() {
            Some(1..=MOST_RUNS) => Ok(file),
            _ => Err(file.error(None, format!("it stands for more than {MOST_RUNS} runs"))),
        }
    }

    /// The number of all combinations, where a number can hold it.
    fn number_of_runs(&self) -> Option<usize> {
        let of_algorithm = |algorithm: &String| {
            let lengths = self.choices(algorithm).into_iter();
            lengths
                .map(|choice| choice.values.len())
                .chain([self.tasks.len(), self.seeds.len()])
                .try_fold(1_usize, usize::checked_mul)
        };
        let mut algorithms = self.algorithms.iter().map(of_algorithm);
        algorithms.try_fold(0_usize, |sum, runs| sum.checked_add(runs?))
    }

    /// The settings of `algorithm`: those of `[set]` that it does not set itself, and then those of its
    /// own table, each in the order of the file. The later wins, so that its own do however their keys
    /// are spelled.
    pub fn choices(&self, algorithm: &str) -> Vec<&Choice> {
        let is_own = |choice: &Choice| choice.algorithm.as_deref() == Some(algorithm);
        let is_set_itself = |key: &str| {
            let mut choices = self.set.iter();
            choices.any(|choice| is_own(choice) && is_same_key(&choice.key, key))
        };
        let common = self.set.iter();
        let common =
            common.filter(|choice| choice.algorithm.is_none() && !is_set_itself(&choice.key));
        common
            .chain(self.set.iter().filter(|choice| is_own(choice)))
            .collect()
    }

    /// Every combination of the values of the settings of `algorithm`, of which the last key changes
    /// fastest.
    pub fn combinations(&self, algorithm: &str) -> Vec<Vec<(&str, &toml::Value)>> {
        let mut all = vec![Vec::new()];
        for choice in self.choices(algorithm) {
            let with_each = |before: Vec<(_, _)>| {
                let values = choice.values.iter();
                values
                    .map(move |value| [before.clone(), vec![(choice.key.as_str(), value)]].concat())
            };
            all = all.into_iter().flat_map(with_each).collect();
        }
        all
    }

    /// Those settings of a combination that other combinations of `algorithm` have otherwise.
    pub fn varied<'a>(
        &self,
        algorithm: &str,
        settings: &[(&'a str, &'a toml::Value)],
    ) -> Vec<(&'a str, &'a toml::Value)> {
        let varies = |key: &str| {
            let mut choices = self.choices(algorithm).into_iter();
            choices.any(|choice| choice.key == key && choice.values.len() > 1)
        };
        let settings = settings.iter().copied();
        settings.filter(|(key, _)| varies(key)).collect()
    }

    /// The key of a list in which a value stands twice, of those that the runs of `algorithm` come from.
    pub fn repeated(&self, algorithm: &str) -> Option<String> {
        let lists = [
            (ALGORITHMS, repeats(&self.algorithms)),
            (TASKS, repeats(&self.tasks)),
            (SEEDS, repeats(&self.seeds)),
        ];
        if let Some((key, _)) = lists.into_iter().find(|(_, repeats)| *repeats) {
            return Some(key.to_owned());
        }
        let mut choices = self.choices(algorithm).into_iter();
        let choice = choices.find(|choice| repeats(&choice.values))?;
        Some(match &choice.algorithm {
            Some(algorithm) => format!("{ALGORITHM}{algorithm}.{}", choice.key),
            None => format!("{SET}{}", choice.key),
        })
    }

    /// An error at `key`, or about the file as a whole.
    pub fn error(&self, key: Option<&str>, message: impl Into<String>) -> ConfigError {
        let origin = key.and_then(|key| self.origins.get(key)).cloned();
        ConfigError {
            origin: origin.unwrap_or_else(|| Origin::File {
                name: self.name.clone(),
                line: 1,
                column: 1,
            }),
            message: message.into(),
            hint: None,
        }
    }

    /// The key of this file from which a setting of a run of `algorithm` comes that has this origin.
    pub fn key_of(&self, algorithm: &str, origin: &Origin) -> Option<String> {
        let Origin::Option(option) = origin else {
            return None;
        };
        let (option, value) = option.split_once(' ')?;
        let key = match option {
            "--algo" => ALGORITHMS,
            "--env" => TASKS,
            "--seed" => SEEDS,
            "--steps" => STEPS,
            "--preset" => PRESET,
            "--set" => {
                let key = value.split_once('=')?.0;
                let own = format!("{ALGORITHM}{algorithm}.{key}");
                let is_own = self.origins.contains_key(&own);
                return Some(if is_own { own } else { format!("{SET}{key}") });
            }
            _ => return None,
        };
        Some(key.to_owned())
    }
}

/// Whether two keys, of which each may be the end of a path, are surely the same.
fn is_same_key(a: &str, b: &str) -> bool {
    let ends = |long: &str, short: &str| {
        let before = long.strip_suffix(short);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    ends(a, b) || ends(b, a)
}

fn repeats<T: PartialEq>(values: &[T]) -> bool {
    (1..values.len()).any(|place| values[..place].contains(&values[place]))
}

fn text_of(value: &toml::Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn number_of(value: &toml::Value) -> Option<u64> {
    u64::try_from(value.as_integer()?).ok()
}

fn wrong(setting: &Setting, expected: &str) -> ConfigError {
    let (key, value) = (&setting.key, &setting.value);
    ConfigError::new(
        setting,
        format!("`{key}` is {value}, but must be {expected}"),
    )
}

/// The elements of a list, each read by `read`.
fn list<T>(
    setting: &Setting,
    elements: &str,
    read: impl Fn(&toml::Value) -> Option<T>,
) -> Result<Vec<T>, ConfigError> {
    let read_all = |values: &Vec<toml::Value>| values.iter().map(read).collect::<Option<Vec<T>>>();
    let all = setting.value.as_array().and_then(read_all);
    let all = all.ok_or_else(|| wrong(setting, &format!("a list of {elements}")))?;
    if all.is_empty() {
        return Err(empty(setting));
    }
    Ok(all)
}

fn empty(setting: &Setting) -> ConfigError {
    let message = format!("`{}` is an empty list: the sweep has no run", setting.key);
    ConfigError::new(setting, message).with_hint("name at least one, or leave a key of [set] away")
}

/// The values of `key`, for one algorithm or for all.
fn choice(algorithm: Option<&str>, key: &str, setting: &Setting) -> Result<Choice, ConfigError> {
    if let Some((_, own)) = OWN_KEYS.iter().find(|(known, _)| *known == key) {
        let message = format!("`{key}` cannot be set in a table of settings");
        let hint = format!("a sweep has it as `{own}`, above the tables");
        return Err(ConfigError::new(setting, message).with_hint(hint));
    }
    let (values, is_list) = match &setting.value {
        toml::Value::Array(values) if values.is_empty() => return Err(empty(setting)),
        toml::Value::Array(values) => (values.clone(), true),
        value => (vec![value.clone()], false),
    };
    Ok(Choice {
        algorithm: algorithm.map(str::to_owned),
        key: key.to_owned(),
        values,
        is_list,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "algorithms = [\"sac\", \"dpmd\"]\ntasks = [\"Pendulum-v1\"]\nseeds = [0, 1]\n\
                         steps = 5_000\n";

    fn parse(text: &str) -> Result<SweepFile, ConfigError> {
        SweepFile::parse("sweep.toml", text)
    }

    #[test]
    fn every_combination_of_settings_is_one() {
        let file = parse(&format!(
            "{PLAIN}[set]\nlr = [1e-3, 1e-4]\nbatch_size = 64\ncritic.members = [2, 5]\n"
        ));
        let file = file.expect("valid");
        assert_eq!((file.seeds.as_slice(), file.steps), (&[0, 1][..], 5000));
        let combinations: Vec<String> = file
            .combinations("sac")
            .iter()
            .map(|settings| {
                let words = settings.iter().map(|(key, value)| format!("{key}={value}"));
                words.collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(
            combinations,
            [
                "lr=0.001 batch_size=64 critic.members=2",
                "lr=0.001 batch_size=64 critic.members=5",
                "lr=0.0001 batch_size=64 critic.members=2",
                "lr=0.0001 batch_size=64 critic.members=5",
            ]
        );
        let plain = parse(PLAIN).expect("valid");
        assert_eq!(plain.combinations("sac"), [vec![]]);
    }

    #[test]
    fn settings_of_one_algorithm_leave_the_others_alone() {
        let file = parse(&format!(
            "{PLAIN}[set]\nlr = 1e-3\ngamma = [0.9, 0.99]\n[algorithm.dpmd]\nlr = [1e-4, 1e-5, 1e-6]\n\
             denoising_steps = 5\n"
        ));
        let file = file.expect("valid");
        let all = |algorithm: &str| {
            let combinations = file.combinations(algorithm).into_iter();
            let words = combinations.map(|settings| {
                let words = settings.iter().map(|(key, value)| format!("{key}={value}"));
                words.collect::<Vec<_>>().join(" ")
            });
            words.collect::<Vec<_>>()
        };
        assert_eq!(all("sac"), ["lr=0.001 gamma=0.9", "lr=0.001 gamma=0.99"]);
        let dpmd = all("dpmd");
        assert_eq!(dpmd.len(), 6);
        assert_eq!(dpmd[0], "gamma=0.9 lr=0.0001 denoising_steps=5");
        assert_eq!(dpmd[5], "gamma=0.99 lr=0.000001 denoising_steps=5");
        let settings = &file.combinations("dpmd")[0];
        let varied = file.varied("dpmd", settings).into_iter();
        assert_eq!(
            varied.map(|(key, _)| key).collect::<Vec<_>>(),
            ["gamma", "lr"]
        );
        // Two seeds of one task: two and six combinations.
        assert_eq!(file.number_of_runs(), Some(16));
    }

    /// Whichever table stands first, and however the key is spelled.
    #[test]
    fn a_setting_of_one_algorithm_wins() {
        let own = "[algorithm.dpmd]\ngamma = 0.5\ncritic.learning_rate = 0.1\n";
        let common = "[set]\nagent.gamma = [0.9, 0.99]\nlr = 0.2\n";
        for text in [[PLAIN, own, common].concat(), [PLAIN, common, own].concat()] {
            let file = parse(&text).expect("valid");
            let keys = file.choices("dpmd").into_iter();
            let keys: Vec<_> = keys.map(|choice| choice.key.as_str()).collect();
            assert_eq!(keys, ["lr", "gamma", "critic.learning_rate"]);
            assert_eq!(file.combinations("sac").len(), 2);
        }
        assert!(!is_same_key("lr", "actor.klr"));
    }

    #[test]
    fn a_mistake_is_named_with_its_place_and_what_would_be_right() {
        let with = |line: &str| format!("{PLAIN}{line}\n");
        let without = |key: &str| {
            let lines = PLAIN.lines().filter(|line| !line.starts_with(key));
            lines.collect::<Vec<_>>().join("\n")
        };
        for (text, message, hint) in [
            (
                with("sedes = [1]"),
                "sweep.toml:5:1: unknown key `sedes`",
                "`seeds`",
            ),
            (with("[sets]\nlr = 1"), "unknown key `sets.lr`", "[set]"),
            (
                with("[set]\nlr = []"),
                "sweep.toml:6:1: `set.lr` is an empty list",
                "at least one",
            ),
            (with("[set]\nseed = [1]"), "`seed` cannot be set", "`seeds`"),
            (
                with("[algorithm.td3]\nlr = 1"),
                "sweep.toml:6:1: `td3` is none of the algorithms of this sweep",
                "sac, dpmd",
            ),
            (
                with("[algorithm.sac]\nlr = []"),
                "is an empty list",
                "at least one",
            ),
            (
                with("[algorithm]\nsac = 1"),
                "`algorithm.sac` is no setting",
                "[algorithm.NAME]",
            ),
            (
                with("[set]\nagent.preset = \"x\""),
                "cannot be set",
                "`preset`",
            ),
            (
                without("tasks"),
                "`tasks` is missing",
                "`algorithms`, `tasks`",
            ),
            (without("steps"), "`steps` is missing", "`steps`"),
            (
                PLAIN.replace("[0, 1]", "[]"),
                "sweep.toml:3:1: `seeds` is an empty list",
                "name at least one",
            ),
            (
                PLAIN.replace("[0, 1]", "[-1]"),
                "must be a list of whole numbers from 0",
                "",
            ),
            (
                PLAIN.replace("[0, 1]", "3"),
                "`seeds` is 3, but must be a list",
                "",
            ),
            (
                PLAIN.replace("[\"Pendulum-v1\"]", "\"Pendulum-v1\""),
                "must be a list of names",
                "",
            ),
            (PLAIN.replace("5_000", "0"), "`steps` is 0, but must be", ""),
            (with("preset = 3"), "`preset` is 3, but must be a name", ""),
            (with("steps = = 3"), "sweep.toml:5:9: not valid TOML", ""),
        ] {
            let error = parse(&text).expect_err(message);
            assert!(error.to_string().contains(message), "{message}: {error}");
            let found = error.hint.unwrap_or_default();
            assert!(found.contains(hint), "{message}: {found}");
        }
        let many: Vec<String> = (0..400).map(|n| n.to_string()).collect();
        let many = format!("[{}]", many.join(", "));
        let text = with(&format!("[set]\nlr = {many}\ngamma = {many}"));
        let error = parse(&text).expect_err("too many");
        assert!(
            error.to_string().contains("more than 100000 runs"),
            "{error}"
        );
    }

    #[test]
    fn a_setting_of_a_run_is_found_in_the_file() {
        let file = parse(&format!("{PLAIN}[algorithm.dpmd]\nlr = 1e-4\n")).expect("valid");
        let key = |option: &str| file.key_of("dpmd", &Origin::Option(option.to_owned()));
        assert_eq!(key("--algo sac").as_deref(), Some("algorithms"));
        assert_eq!(key("--set gamma=\"a b=c\"").as_deref(), Some("set.gamma"));
        assert_eq!(key("--set lr=1").as_deref(), Some("algorithm.dpmd.lr"));
        assert_eq!(key("--backend flex"), None);
        assert_eq!(file.key_of("dpmd", &Origin::Default), None);
    }
}
