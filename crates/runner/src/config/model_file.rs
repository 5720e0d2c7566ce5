//! Where a model of the user's own lies.

use std::path::{self, MAIN_SEPARATOR, Path};

/// Name of the option.
pub const KEY: &str = "xml_file";

/// Whether `file` is a path; otherwise it is the name of one of the task models.
pub fn is_path(file: &str) -> bool {
    file == "~" || file.contains(['/', MAIN_SEPARATOR])
}

/// `file` as an absolute path, so that it means the same in every folder: `~` is the home folder,
/// other relative paths begin in the working folder. Names of task models stay as they are.
///
/// # Errors
/// When that folder is unknown or has no name in UTF-8. The error is the message alone.
pub fn absolute(file: &str) -> Result<String, String> {
    if !is_path(file) {
        return Ok(file.to_owned());
    }
    let below_home = file
        .strip_prefix('~')
        .filter(|rest| rest.is_empty() || rest.starts_with(path::is_separator));
    let path = match (below_home, std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches(path::is_separator)),
        (Some(_), None) => return Err("the home folder `~` is unknown; give the whole path".into()),
        (None, _) => path::absolute(Path::new(file)).map_err(|error| error.to_string())?,
    };
    let text = path.into_os_string().into_string();
    text.map_err(|path| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_names_stay() {
        assert_eq!(absolute("ant.xml"), Ok("ant.xml".into()));
        assert_eq!(absolute("/models/ant.xml"), Ok("/models/ant.xml".into()));
        let here = std::env::current_dir().expect("a working folder");
        for relative in ["./ant.xml", "models/ant.xml", "../ant.xml", "~ant/ant.xml"] {
            let found = absolute(relative).expect("a working folder");
            assert!(Path::new(&found).is_absolute(), "{found}");
            let expected = here.join(relative.trim_start_matches("./"));
            assert_eq!(Path::new(&found), expected);
            assert_eq!(absolute(&found), Ok(found.clone()), "twice is once");
        }
        let home = std::env::home_dir().expect("a home folder");
        let below = absolute("~/models/ant.xml").expect("a home folder");
        assert_eq!(Path::new(&below), home.join("models/ant.xml"));
    }
}
