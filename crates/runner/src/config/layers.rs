//! One layer of configuration: settings with the place they come from.

use std::fmt;

use toml_edit::{Document, Item, TableLike};

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a file, at a line and column (both from 1).
    File {
        /// Name of the file.
        name: String,
        /// Line.
        line: usize,
        /// Column, in characters.
        column: usize,
    },
    /// By an option of the command line, as it was typed.
    Option(String),
    /// By nobody: the built-in default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Option(option) => f.write_str(option),
            Self::Default => f.write_str("built-in defaults"),
        }
    }
}

/// A key with its value, as somebody wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Dotted path, for example `agent.gamma`; from `--set` perhaps only `gamma`.
    pub key: String,
    /// The value.
    pub value: toml::Value,
    /// Where it was written.
    pub origin: Origin,
}

impl Setting {
    /// A setting made by a command-line option.
    pub fn option(key: &str, value: impl Into<toml::Value>, option: String) -> Self {
        Self {
            key: key.to_owned(),
            value: value.into(),
            origin: Origin::Option(option),
        }
    }
}

/// Reads the settings of a TOML text in the order in which they stand there.
///
/// # Errors
/// When the text is not TOML; the error names `name`, line and column.
pub fn parse_toml(name: &str, text: &str) -> Result<Vec<Setting>, ConfigError> {
    let place = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            name: name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    };
    let document = Document::parse(text).map_err(|error| ConfigError {
        origin: place(error.span().map_or(0, |span| span.start)),
        message: format!("not valid TOML: {}", error.message().replace('\n', ", ")),
        hint: None,
    })?;
    let values: toml::Table = toml::from_str(text).map_err(|error| ConfigError {
        origin: place(error.span().map_or(0, |span| span.start)),
        message: format!("not valid TOML: {}", error.message()),
        hint: None,
    })?;
    let mut settings = Vec::new();
    collect(document.as_table(), &values, "", &place, &mut settings);
    Ok(settings)
}

/// Appends the settings of `table`, whose plain values are `values`, below the path `prefix`.
fn collect(
    table: &dyn TableLike,
    values: &toml::Table,
    prefix: &str,
    place: &impl Fn(usize) -> Origin,
    settings: &mut Vec<Setting>,
) {
    for (name, item) in table.iter() {
        let key = format!("{prefix}{name}");
        match (item.as_table_like(), values.get(name)) {
            (Some(inner), Some(toml::Value::Table(inner_values))) => {
                collect(inner, inner_values, &format!("{key}."), place, settings);
            }
            (_, Some(value)) => settings.push(Setting {
                key,
                value: value.clone(),
                origin: place(offset_of(table, name, item)),
            }),
            // Both views come from the same text, so a key of one is a key of the other.
            (_, None) => {}
        }
    }
}

/// Byte offset of the key `name`, or of its value where the parser kept no position of the key.
fn offset_of(table: &dyn TableLike, name: &str, item: &Item) -> usize {
    table
        .key(name)
        .and_then(toml_edit::Key::span)
        .or_else(|| item.span())
        .map_or(0, |span| span.start)
}

/// The value of a TOML text that holds nothing else.
fn parse_value(text: &str) -> Option<toml::Value> {
    let mut table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    let value = table.remove("value");
    value.filter(|_| table.is_empty())
}

/// What Python writes otherwise than TOML: the arguments of Gymnasium's constructors are options.
fn python_value(text: &str) -> Option<toml::Value> {
    match text {
        "True" => Some(toml::Value::Boolean(true)),
        "False" => Some(toml::Value::Boolean(false)),
        _ => {
            let tuple = text.strip_prefix('(')?.strip_suffix(')')?;
            parse_value(&format!("[{tuple}]"))
        }
    }
}

/// Reads `KEY=VALUE` as given to `--set`. The value is TOML, or `True`, `False` or a tuple as
/// Python writes them; what is neither is taken as text, so that `schedule=linear` needs no quotes.
///
/// # Errors
/// When there is no `=` or nothing before it.
pub fn parse_assignment(text: &str) -> Result<Setting, ConfigError> {
    let option = format!("--set {text}");
    let (key, value) = match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => (key.trim(), value.trim()),
        _ => {
            return Err(ConfigError {
                origin: Origin::Option(option),
                message: "expected KEY=VALUE".into(),
                hint: Some("for example --set gamma=0.98".into()),
            });
        }
    };
    let parsed = parse_value(value).or_else(|| python_value(value));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    Ok(Setting::option(key, value, option))
}

/// The highest setting of one of the `keys`, as text.
///
/// # Errors
/// When it is something else.
pub fn last_text<'a>(
    settings: &'a [Setting],
    keys: &[&str],
) -> Result<Option<(&'a str, &'a Setting)>, ConfigError> {
    let of_keys = |setting: &&Setting| keys.contains(&setting.key.as_str());
    let Some(setting) = settings.iter().rfind(of_keys) else {
        return Ok(None);
    };
    match setting.value.as_str() {
        Some(text) => Ok(Some((text, setting))),
        None => Err(ConfigError::new(
            setting,
            format!("`{}` is {}, but must be a text", setting.key, setting.value),
        )),
    }
}

/// What is wrong with the configuration, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigError {
    /// Where the mistake stands.
    pub origin: Origin,
    /// What is wrong.
    pub message: String,
    /// What would be right, where that is known.
    pub hint: Option<String>,
}

impl ConfigError {
    pub(crate) fn new(setting: &Setting, message: impl Into<String>) -> Self {
        Self {
            origin: setting.origin.clone(),
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_file_know_their_line_and_column() {
        let text = "seed = 3\n\n[agent]\n  gamma = 0.9 # why\ntraining_like = 1\n";
        let settings = parse_toml("my.toml", text).expect("valid TOML");
        let places: Vec<_> = settings
            .iter()
            .map(|s| (s.key.as_str(), s.origin.to_string()))
            .collect();
        assert_eq!(
            places,
            [
                ("seed", "my.toml:1:1".to_owned()),
                ("agent.gamma", "my.toml:4:3".to_owned()),
                ("agent.training_like", "my.toml:5:1".to_owned()),
            ]
        );
    }

    #[test]
    fn dotted_keys_and_inline_tables_are_settings_too() {
        let settings =
            parse_toml("f", "agent.gamma = 0.5\ntraining = { num_envs = 2 }\n").expect("valid");
        let keys: Vec<_> = settings.iter().map(|s| s.key.as_str()).collect();
        assert_eq!(keys, ["agent.gamma", "training.num_envs"]);
    }

    #[test]
    fn broken_toml_names_file_line_and_column() {
        let error = parse_toml("my.toml", "seed = 3\nsteps = = 4\n").expect_err("broken");
        assert!(
            error.to_string().starts_with("my.toml:2:9: not valid TOML"),
            "{error}"
        );
    }

    #[test]
    fn values_of_set_are_toml_or_bare_words() {
        let value = |text| parse_assignment(text).expect("an assignment").value;
        assert_eq!(value("a=1"), toml::Value::Integer(1));
        assert_eq!(value("a = 1e-3"), toml::Value::Float(1e-3));
        assert_eq!(value("a=true"), toml::Value::Boolean(true));
        assert_eq!(value("a=linear"), toml::Value::String("linear".into()));
        assert_eq!(value("a=\"x = y\""), toml::Value::String("x = y".into()));
        assert_eq!(
            value("a=[64, 64]"),
            toml::Value::Array(vec![64.into(), 64.into()])
        );
        assert_eq!(value("a=True"), toml::Value::Boolean(true));
        assert_eq!(value("a=False"), toml::Value::Boolean(false));
        let range = toml::Value::Array(vec![0.2.into(), f64::INFINITY.into()]);
        assert_eq!(value("a=(0.2, inf)"), range);
        assert_eq!(value("a=(x, y)"), toml::Value::String("(x, y)".into()));
        let smuggled = toml::Value::String("(1]\nb=[2)".into());
        assert_eq!(value("a=(1]\nb=[2)"), smuggled);
        // A newline must not smuggle a second key in.
        assert_eq!(value("a=1\nb=2"), toml::Value::String("1\nb=2".into()));
    }

    #[test]
    fn an_assignment_needs_a_key_and_an_equals_sign() {
        assert!(parse_assignment("gamma").is_err());
        assert!(parse_assignment("=1").is_err());
    }
}
