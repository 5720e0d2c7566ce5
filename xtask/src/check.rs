//! Checking names before anything is built.

use crate::failure::{Failure, Result};
use crate::names::{ALGOS, BUILTIN_ENVS, MUJOCO_ENVS, OTHER_BACKENDS, backends};

/// Below this Jaro-Winkler similarity a suggestion has nothing to do with what was typed.
const SIMILAR: f64 = 0.7;

/// Refuses an algorithm that does not exist.
///
/// # Errors
/// Exit code 2, with the nearest name and all names.
pub fn algo(name: &str) -> Result<()> {
    known("algorithm", name, ALGOS)
}

/// Refuses a task that does not exist.
///
/// # Errors
/// Exit code 2, with the nearest name and all names.
pub fn env(name: &str) -> Result<()> {
    known("task", name, &[BUILTIN_ENVS, MUJOCO_ENVS].concat())
}

/// Refuses a backend that does not exist.
///
/// # Errors
/// Exit code 2, with the nearest name and all names.
pub fn backend(name: &str) -> Result<()> {
    known("backend", name, &backends())
}

/// The cargo feature that a backend needs beyond those that every build has.
pub fn backend_feature(name: &str) -> Option<&'static str> {
    OTHER_BACKENDS.iter().copied().find(|known| *known == name)
}

/// Whether the task runs in MuJoCo.
pub fn needs_mujoco(env: &str) -> bool {
    MUJOCO_ENVS.contains(&env)
}

/// The name in `names` most like `name`, if any is alike.
pub fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    names
        .iter()
        .map(|known| (strsim::jaro_winkler(&wanted, &known.to_lowercase()), *known))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        // Of equally near ones the first, which `max_by` takes to be the last.
        .rev()
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

fn known(kind: &str, name: &str, names: &[&str]) -> Result<()> {
    if names.contains(&name) {
        return Ok(());
    }
    let mut failure = Failure::usage(format!("unknown {kind} `{name}`"));
    if let Some(near) = nearest(name, names) {
        failure = failure.hint(format!("did you mean `{near}`?"));
    }
    Err(failure.hint(format!("{kind}s: {}", names.join(", "))))
}

/// The value, without quotes, if the setting `KEY=VALUE` is about this key.
pub fn set_value<'a>(setting: &'a str, key: &str) -> Option<&'a str> {
    let (name, value) = setting.split_once('=')?;
    (name.trim() == key).then(|| value.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_is_accepted() {
        for name in ALGOS {
            assert_eq!(algo(name), Ok(()));
        }
        for name in [BUILTIN_ENVS, MUJOCO_ENVS].concat() {
            assert_eq!(env(name), Ok(()));
        }
        for name in backends() {
            assert_eq!(backend(name), Ok(()));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_all_names() {
        let failure = env("halfcheetah").expect_err("not a name");
        assert_eq!(failure.code, 2);
        assert!(failure.message.contains("unknown task `halfcheetah`"));
        assert_eq!(failure.hints[0], "did you mean `HalfCheetah-v4`?");
        assert!(failure.hints[1].contains("Pendulum-v1"));

        let failure = algo("dmpd").expect_err("not a name");
        assert_eq!(failure.hints[0], "did you mean `dpmd`?");
    }

    #[test]
    fn a_name_like_no_other_gets_the_list_but_no_suggestion() {
        let failure = algo("xyz").expect_err("not a name");
        assert_eq!(failure.hints, [format!("algorithms: {}", ALGOS.join(", "))]);
    }

    #[test]
    fn every_backend_but_the_default_needs_a_feature_of_its_own() {
        assert_eq!(backend_feature("flex"), None);
        assert_eq!(backend_feature("ndarray"), Some("ndarray"));
        assert_eq!(backend_feature("wgpu"), Some("wgpu"));
        let failure = backend("flx").expect_err("not a name");
        assert_eq!(failure.hints[0], "did you mean `flex`?");
    }

    #[test]
    fn a_setting_is_read_without_quotes() {
        assert_eq!(set_value("env = \"b\"", "env"), Some("b"));
        assert_eq!(set_value("env=b", "algo"), None);
        assert_eq!(set_value("env", "env"), None);
    }
}
