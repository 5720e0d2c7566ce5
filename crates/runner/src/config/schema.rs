//! Which keys exist, and which of them a misspelt key may have meant.

use super::{ConfigError, Setting};

/// All keys of a configuration as dotted paths, with the default values.
#[derive(Debug, Clone)]
pub struct Schema {
    keys: Vec<(String, toml::Value)>,
}

/// Short key that stands for several: `agent.lr` sets both learning rates.
pub const ALIAS: (&str, [&str; 2]) = ("agent.lr", ["agent.critic_lr", "agent.policy_lr"]);

impl Schema {
    /// The schema of a complete configuration.
    pub fn of(defaults: &toml::Table) -> Self {
        let mut keys = Vec::new();
        for (name, value) in defaults {
            match value {
                toml::Value::Table(inner) => keys.extend(
                    inner
                        .iter()
                        .map(|(key, value)| (format!("{name}.{key}"), value.clone())),
                ),
                value => keys.push((name.clone(), value.clone())),
            }
        }
        Self { keys }
    }

    /// Whether `key` is a full path of this schema or the alias.
    pub fn contains(&self, key: &str) -> bool {
        key == ALIAS.0 || self.default_of(key).is_some()
    }

    /// The default of a full path.
    pub fn default_of(&self, key: &str) -> Option<&toml::Value> {
        self.keys
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.keys
            .iter()
            .map(|(key, _)| key.as_str())
            .chain([ALIAS.0])
    }

    /// The full paths whose last name is `name`.
    fn with_last_name(&self, name: &str) -> Vec<&str> {
        self.paths()
            .filter(|path| path.rsplit('.').next() == Some(name))
            .collect()
    }

    /// Replaces a last name by the full path where that is unique.
    pub fn complete(&self, key: &str) -> String {
        match (self.contains(key), self.with_last_name(key).as_slice()) {
            (false, [path]) => (*path).to_owned(),
            _ => key.to_owned(),
        }
    }

    /// Requires that the key of `setting` exists.
    ///
    /// # Errors
    /// When it does not; the hint names the nearest key.
    pub fn check_key(&self, setting: &Setting) -> Result<(), ConfigError> {
        if self.contains(&setting.key) {
            return Ok(());
        }
        let nearest = self.nearest(&setting.key);
        Err(ConfigError {
            origin: setting.origin.clone(),
            message: format!("unknown key `{}`", setting.key),
            hint: nearest.map(|key| format!("did you mean `{key}`?")),
        })
    }

    /// The known key nearest to `key`, by its last name or by the whole path.
    fn nearest(&self, key: &str) -> Option<&str> {
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let name = last(key);
        nearest_by(self.paths(), |path| {
            let by_name = strsim::normalized_damerau_levenshtein(&name, &last(path));
            let by_path = strsim::normalized_damerau_levenshtein(key, path);
            by_name.max(by_path)
        })
    }

    /// Requires that the value of `setting` is of the kind of the default.
    ///
    /// # Errors
    /// When it is of another kind; the message says which is right.
    pub fn check_kind(&self, setting: &Setting) -> Result<(), ConfigError> {
        use toml::Value::{Array, Boolean, Float, Integer, String};
        let key = if setting.key == ALIAS.0 {
            ALIAS.1[0]
        } else {
            &setting.key
        };
        let expected = match (self.default_of(key), &setting.value) {
            // Which texts can be given as a number the task decides.
            (Some(String(_)), Integer(_)) if key.starts_with("task.") => return Ok(()),
            (Some(Float(_)), Float(_) | Integer(_))
            | (Some(String(_)), String(_))
            | (Some(Boolean(_)), Boolean(_))
            | (Some(Array(_)), Array(_)) => return Ok(()),
            (Some(Integer(_)), Integer(value)) if *value >= 0 => return Ok(()),
            (Some(Float(_)), _) => "a number",
            (Some(String(_)), _) => "a text",
            (Some(Boolean(_)), _) => "true or false",
            (Some(Array(_)), _) if key.starts_with("task.") => "an array of two numbers",
            (Some(Array(_)), _) => "an array",
            (Some(Integer(_)), _) => "a whole number of at least 0",
            _ => return Ok(()),
        };
        Err(ConfigError::new(
            setting,
            format!(
                "`{}` is {}, but must be {expected}",
                setting.key, setting.value
            ),
        ))
    }
}

/// The candidate with the highest `similarity`, if that is convincing.
fn nearest_by<'a>(
    candidates: impl Iterator<Item = &'a str>,
    similarity: impl Fn(&str) -> f64,
) -> Option<&'a str> {
    candidates
        .map(|candidate| (similarity(candidate), candidate))
        .filter(|(score, _)| *score > 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The candidate that `text` was probably meant to be (letter case does not count).
pub fn nearest_name<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let text = text.to_lowercase();
    nearest_by(candidates.into_iter(), |candidate| {
        strsim::jaro_winkler(&text, &candidate.to_lowercase()) - 0.25
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    fn schema() -> Schema {
        let table = "seed = 0\n[agent]\ngamma = 0.99\ncritic_lr = 1.0\npolicy_lr = 1.0\nhidden_dims = [1]\n[training]\nnum_envs = 5\n";
        Schema::of(&toml::from_str(table).expect("valid"))
    }

    fn setting(key: &str, value: impl Into<toml::Value>) -> Setting {
        Setting {
            key: key.into(),
            value: value.into(),
            origin: Origin::Default,
        }
    }

    #[test]
    fn a_last_name_becomes_its_path() {
        assert_eq!(schema().complete("gamma"), "agent.gamma");
        assert_eq!(schema().complete("lr"), "agent.lr");
        assert_eq!(schema().complete("seed"), "seed");
        assert_eq!(schema().complete("training.num_envs"), "training.num_envs");
        assert_eq!(schema().complete("nothing"), "nothing");
    }

    #[test]
    fn misspelt_and_misplaced_keys_are_refused_with_the_nearest() {
        for (wrong, right) in [
            ("agent.gama", "agent.gamma"),
            ("gamma", "agent.gamma"),
            ("agent.num_envs", "training.num_envs"),
            ("sed", "seed"),
        ] {
            let error = schema()
                .check_key(&setting(wrong, 1))
                .expect_err("unknown key");
            assert_eq!(error.hint, Some(format!("did you mean `{right}`?")));
        }
        let error = schema().check_key(&setting("zzz", 1)).expect_err("unknown");
        assert_eq!(error.hint, None, "nothing is near");
    }

    #[test]
    fn kinds_are_checked_and_whole_numbers_are_numbers() {
        let schema = schema();
        assert!(schema.check_kind(&setting("agent.gamma", 1)).is_ok());
        assert!(schema.check_kind(&setting("agent.lr", "fast")).is_err());
        assert!(
            schema
                .check_kind(&setting("training.num_envs", 1.5))
                .is_err()
        );
        assert!(
            schema
                .check_kind(&setting("training.num_envs", -1))
                .is_err()
        );
        assert!(
            schema
                .check_kind(&setting("agent.hidden_dims", 64))
                .is_err()
        );
    }

    #[test]
    fn names_are_suggested_regardless_of_case() {
        assert_eq!(nearest_name("DPMD", ["dpmd", "sac"]), Some("dpmd"));
        assert_eq!(
            nearest_name("halfcheetah", ["Hopper-v4", "HalfCheetah-v4"]),
            Some("HalfCheetah-v4")
        );
        assert_eq!(nearest_name("qqq", ["dpmd", "sac"]), None);
    }
}
