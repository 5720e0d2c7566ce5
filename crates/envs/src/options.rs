//! Options of a task: what Gymnasium takes as arguments of an environment's constructor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::EnvError;
use crate::error::nearest;

/// Value of an option.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OptionValue {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// A number; infinities are allowed where they make sense.
    Number(f64),
    /// Lower and upper end.
    Range([f64; 2]),
    /// A text.
    Text(String),
}

impl OptionValue {
    /// What this kind of value is called in messages.
    fn kind(&self) -> &'static str {
        match self {
            Self::Flag(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::Number(_) => "a number",
            Self::Range(_) => "an array of two numbers, the lower first",
            Self::Text(_) => "a text",
        }
    }
}

impl std::fmt::Display for OptionValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Range([low, high]) => write!(f, "[{low}, {high}]"),
            Self::Text(value) => write!(f, "\"{value}\""),
        }
    }
}

/// Default of an option, which also says what kind of value it takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OptionDefault {
    /// As [`OptionValue::Flag`].
    Flag(bool),
    /// As [`OptionValue::Integer`].
    Integer(i64),
    /// As [`OptionValue::Number`].
    Number(f64),
    /// As [`OptionValue::Range`].
    Range([f64; 2]),
    /// As [`OptionValue::Text`].
    Text(&'static str),
}

impl OptionDefault {
    /// The default as a value.
    pub fn value(self) -> OptionValue {
        match self {
            Self::Flag(value) => OptionValue::Flag(value),
            Self::Integer(value) => OptionValue::Integer(value),
            Self::Number(value) => OptionValue::Number(value),
            Self::Range(value) => OptionValue::Range(value),
            Self::Text(value) => OptionValue::Text(value.to_owned()),
        }
    }
}

/// An option of a task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TaskOption {
    /// Its name, Gymnasium's where Gymnasium has it.
    pub name: &'static str,
    /// Its default.
    pub default: OptionDefault,
    /// Whether it can be set; `false` for what this version of the task has fixed.
    #[serde(skip)]
    pub(crate) adjustable: bool,
}

impl TaskOption {
    /// An option that can be set; its default says what kind of value it takes.
    pub const fn new(name: &'static str, default: OptionDefault) -> Self {
        Self {
            name,
            default,
            adjustable: true,
        }
    }

    /// The same as a constant of the task, which users cannot set.
    #[must_use]
    pub const fn fixed(self) -> Self {
        Self {
            adjustable: false,
            ..self
        }
    }

    /// Requires a value of the right kind that makes sense; whole numbers are numbers.
    fn check(&self, value: &OptionValue) -> Result<OptionValue, String> {
        let default = self.default.value();
        let value = match (&default, value) {
            (OptionValue::Number(_), OptionValue::Integer(whole)) => {
                OptionValue::Number(*whole as f64)
            }
            // Gymnasium takes the number of the body too, and has it as its default.
            (OptionValue::Text(_), OptionValue::Integer(number)) if self.name == "main_body" => {
                OptionValue::Text(number.to_string())
            }
            _ => value.clone(),
        };
        if std::mem::discriminant(&default) != std::mem::discriminant(&value) {
            return Err(default.kind().to_owned());
        }
        let expected = match (&value, self.name) {
            (OptionValue::Integer(n), "frame_skip") if !(1..=1000).contains(n) => {
                "a whole number from 1 to 1000"
            }
            (OptionValue::Number(x), "reset_noise_scale") if !(x.is_finite() && *x >= 0.0) => {
                "a finite number of at least 0"
            }
            (OptionValue::Number(x), _) if !x.is_finite() => "a finite number",
            // NaN compares false and is refused too.
            (OptionValue::Range([low, high]), _) if !matches!(low.partial_cmp(high), Some(o) if o.is_le()) => {
                "an array of two numbers, the lower first"
            }
            (OptionValue::Range([low, high]), _)
                if *low == f64::INFINITY || *high == f64::NEG_INFINITY =>
            {
                "an array of two numbers with something between them"
            }
            _ => return Ok(value),
        };
        Err(expected.to_owned())
    }
}

/// All options of one environment with their values.
///
/// The methods that read a value panic where the task has no option of that name and kind: an
/// error in the task's code, whatever a user sets.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    values: BTreeMap<&'static str, OptionValue>,
    /// Whether some value is not its default.
    changed: bool,
}

impl TaskOptions {
    /// Puts `chosen` over the defaults of `known`.
    ///
    /// # Errors
    /// [`EnvError::UnknownOption`] or [`EnvError::InvalidOption`].
    pub(crate) fn resolve(
        task: &str,
        known: &[TaskOption],
        chosen: &BTreeMap<String, OptionValue>,
    ) -> Result<Self, EnvError> {
        let mut values: BTreeMap<_, _> = known
            .iter()
            .map(|option| (option.name, option.default.value()))
            .collect();
        let mut changed = false;
        for (name, value) in chosen {
            let adjustable = || known.iter().filter(|option| option.adjustable);
            let Some(option) = adjustable().find(|option| option.name == name) else {
                let suggestion = nearest(name, adjustable().map(|option| option.name));
                return Err(EnvError::UnknownOption {
                    task: task.to_owned(),
                    name: name.clone(),
                    suggestion,
                });
            };
            let value = option
                .check(value)
                .map_err(|expected| EnvError::InvalidOption {
                    task: task.to_owned(),
                    name: name.clone(),
                    value: value.to_string(),
                    expected,
                })?;
            changed |= value != option.default.value();
            values.insert(option.name, value);
        }
        Ok(Self { values, changed })
    }

    /// The value of one of the options that were resolved.
    pub(crate) fn value(&self, option: &TaskOption) -> OptionValue {
        let chosen = self.values.get(option.name);
        chosen.map_or_else(|| option.default.value(), Clone::clone)
    }

    /// Whether every option has its default.
    pub fn are_defaults(&self) -> bool {
        !self.changed
    }

    /// Whether there is an option of this name.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The option `name`, `true` or `false`.
    ///
    /// # Panics
    /// If the task has no such option.
    pub fn flag(&self, name: &str) -> bool {
        match self.values.get(name) {
            Some(OptionValue::Flag(value)) => *value,
            _ => Self::absent(name),
        }
    }

    /// The option `name`, a whole number.
    ///
    /// # Panics
    /// If the task has no such option.
    pub fn integer(&self, name: &str) -> i64 {
        match self.values.get(name) {
            Some(OptionValue::Integer(value)) => *value,
            _ => Self::absent(name),
        }
    }

    /// The option `name`, a number.
    ///
    /// # Panics
    /// If the task has no such option.
    pub fn number(&self, name: &str) -> f64 {
        match self.values.get(name) {
            Some(OptionValue::Number(value)) => *value,
            _ => Self::absent(name),
        }
    }

    /// The option `name`, a lower and an upper end.
    ///
    /// # Panics
    /// If the task has no such option.
    pub fn range(&self, name: &str) -> [f64; 2] {
        match self.values.get(name) {
            Some(OptionValue::Range(value)) => *value,
            _ => Self::absent(name),
        }
    }

    /// The option `name`, a text.
    ///
    /// # Panics
    /// If the task has no such option.
    pub fn text(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(OptionValue::Text(value)) => value,
            _ => Self::absent(name),
        }
    }

    /// Reached only if a task lacks what its constructor reads, whatever the user's settings are:
    /// making each task once, as `register` and the tests do, shows that none does.
    fn absent(name: &str) -> ! {
        panic!("the task has no option `{name}` of this kind")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[TaskOption] = &[
        TaskOption::new("main_body", OptionDefault::Text("torso")),
        TaskOption::new("xml_file", OptionDefault::Text("ant.xml")),
        TaskOption::new("weight", OptionDefault::Number(1.0)),
        TaskOption::new("healthy_z_range", OptionDefault::Range([0.0, 1.0])),
        TaskOption::new("terminate", OptionDefault::Flag(true)),
        TaskOption::new("frame_skip", OptionDefault::Integer(5)),
        TaskOption::new("reset_noise_scale", OptionDefault::Number(0.1)),
        TaskOption::new("hidden", OptionDefault::Number(3.0)).fixed(),
    ];

    fn resolve(name: &str, value: OptionValue) -> Result<TaskOptions, EnvError> {
        let chosen = BTreeMap::from([(name.to_owned(), value)]);
        TaskOptions::resolve("T-v0", KNOWN, &chosen)
    }

    #[test]
    fn values_of_the_right_kind_are_taken() {
        let options =
            resolve("weight", OptionValue::Integer(2)).expect("whole numbers are numbers");
        assert_eq!(options.values["weight"], OptionValue::Number(2.0));
        assert!(options.changed);
        assert!(
            !resolve("weight", OptionValue::Number(1.0))
                .expect("valid")
                .changed
        );
        let options = resolve("main_body", OptionValue::Integer(1)).expect("as in Gymnasium");
        assert_eq!(options.values["main_body"], OptionValue::Text("1".into()));
        let half_open = OptionValue::Range([0.7, f64::INFINITY]);
        resolve("healthy_z_range", half_open).expect("open above");
    }

    #[test]
    fn others_are_refused_with_what_would_be_right() {
        for (name, value, expected) in [
            ("weight", OptionValue::Number(f64::NAN), "a finite number"),
            ("weight", OptionValue::Text("1".into()), "a number"),
            ("weight", OptionValue::Range([0.0, 1.0]), "a number"),
            ("xml_file", OptionValue::Integer(1), "a text"),
            ("main_body", OptionValue::Number(1.0), "a text"),
            ("terminate", OptionValue::Text("True".into()), "true or"),
            ("frame_skip", OptionValue::Number(5.0), "a whole number"),
            ("healthy_z_range", OptionValue::Number(0.2), "two numbers"),
            (
                "healthy_z_range",
                OptionValue::Range([f64::INFINITY; 2]),
                "something between",
            ),
            ("terminate", OptionValue::Integer(1), "true or false"),
            ("frame_skip", OptionValue::Integer(0), "from 1 to 1000"),
            ("reset_noise_scale", OptionValue::Number(-0.1), "at least 0"),
            (
                "healthy_z_range",
                OptionValue::Range([2.0, 1.0]),
                "the lower first",
            ),
            (
                "healthy_z_range",
                OptionValue::Range([f64::NAN, 1.0]),
                "the lower first",
            ),
        ] {
            let error = resolve(name, value).expect_err(name).to_string();
            assert!(error.contains(name) && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_unknown_option_is_answered_with_the_nearest() {
        let error = resolve("wieght", OptionValue::Number(1.0)).expect_err("misspelt");
        assert_eq!(
            error.to_string(),
            "`T-v0` has no option `wieght`; did you mean `weight`?"
        );
        let error = resolve("hidden", OptionValue::Number(1.0)).expect_err("fixed");
        assert!(
            matches!(
                error,
                EnvError::UnknownOption {
                    suggestion: None,
                    ..
                }
            ),
            "{error}"
        );
    }
}
