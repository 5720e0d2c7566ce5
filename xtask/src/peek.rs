//! What xtask must know of a command that it hands on, before the program that understands it is
//! built: the names in it, the GPU backend to build, and whether it needs MuJoCo.
//!
//! It only looks for a few options among the raw arguments. Whatever is wrong with the others, the
//! program says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use crate::check;
use crate::cli::Cli;
use crate::failure::{Failure, Result};
use crate::names::{COMMANDS, DEFAULT_ENV};
use crate::program::Physics;

/// A larger configuration file is none.
const LARGEST_FILE: u64 = 1 << 20;

type Check = fn(&str) -> Result<()>;

/// A command line of the program.
#[derive(Debug)]
pub struct Peek {
    command: String,
    arguments: Vec<String>,
}

impl Peek {
    /// Looks at a command and its arguments.
    pub fn new(line: &[OsString]) -> Self {
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        let mut words = line.iter().map(text);
        Self {
            command: words.next().unwrap_or_default(),
            // What follows `--` are no options.
            arguments: words.take_while(|word| word != "--").collect(),
        }
    }

    /// Refuses names that do not exist, before anything is fetched or built.
    ///
    /// # Errors
    /// Exit code 2 and what would be right.
    pub fn check_names(&self) -> Result<()> {
        let handed_on = COMMANDS.iter().map(|(name, _)| *name);
        if !handed_on.clone().any(|name| name == self.command) {
            let mut failure = Failure::usage(format!("there is no command `{}`", self.command));
            let own = Cli::command();
            let own = own.get_subcommands().map(clap::Command::get_name);
            let all: Vec<&str> = handed_on.chain(own).collect();
            if let Some(near) = check::nearest(&self.command, &all) {
                failure = failure.hint(format!("did you mean `{near}`?"));
            }
            return Err(failure.hint("cargo xtask --help lists them"));
        }
        if self.asks_for_help() {
            return Ok(());
        }
        let checks: [(&str, Check); 3] = [
            ("algo", check::algo),
            ("env", check::env),
            ("backend", check::backend),
        ];
        for (key, check) in checks {
            let given = self.given(key);
            given.iter().try_for_each(|name| check(name))?;
            // The program says by itself what is wrong with the file of a run.
            if let (true, Some(file)) = (given.is_empty(), self.option("config"))
                && let Some(name) = configured(Path::new(&file), key)
            {
                check(&name)?;
            }
        }
        Ok(())
    }

    /// How much the command wants MuJoCo.
    pub fn physics(&self) -> Physics {
        let env = match self.command.as_str() {
            _ if self.asks_for_help() => None,
            // Only what runs in MuJoCo can be drawn.
            "render" => return Physics::Needed,
            "train" | "eval" => self.name("env"),
            _ => None,
        };
        // A file that cannot be read says nothing; the program will say why.
        let default = self.command == "train"
            && !self.asks_for_help()
            && self.file().is_none_or(|file| file.is_file());
        let env = env.or_else(|| default.then(|| DEFAULT_ENV.to_owned()));
        if env.is_some_and(|name| check::needs_mujoco(&name)) {
            Physics::Needed
        } else {
            Physics::Wanted
        }
    }

    /// The cargo feature of the backend that the command computes on, where it is one.
    pub fn backend(&self) -> Option<&'static str> {
        if self.asks_for_help() {
            return None;
        }
        check::backend_feature(&self.name("backend")?)
    }

    fn asks_for_help(&self) -> bool {
        let is_help = |word: &String| word == "--help" || word == "-h";
        self.command == "help" || self.arguments.iter().any(is_help)
    }

    /// The value of a key, in the program's order of precedence.
    fn name(&self, key: &str) -> Option<String> {
        let set = self.given(key).pop();
        set.or_else(|| configured(&self.file()?, key))
    }

    /// All values that the command line gives a key; the last one counts.
    fn given(&self, key: &str) -> Vec<String> {
        let set = self.values("set");
        let set = set
            .iter()
            .filter_map(|setting| check::set_value(setting, key));
        let mut values = self.values(key);
        values.extend(set.map(str::to_owned));
        values
    }

    /// The configuration file: the one given, or that of the run that the command is about.
    fn file(&self) -> Option<PathBuf> {
        if let Some(file) = self.option("config") {
            return Some(file.into());
        }
        let run = match self.command.as_str() {
            "eval" | "render" => self.run(),
            _ => self.option("resume").map(PathBuf::from),
        };
        Some(run?.join("config.toml"))
    }

    /// The run folder among the arguments: the first that is one, but rather not what may be the
    /// value of an option.
    fn run(&self) -> Option<PathBuf> {
        let is_option = |word: &String| word.starts_with('-') && !word.contains('=');
        let runs = || {
            let runs = self.arguments.iter().enumerate();
            runs.filter(|(_, word)| Path::new(word).join("config.toml").is_file())
        };
        let before = |at: usize| at.checked_sub(1).map(|at| &self.arguments[at]);
        let positional = runs().find(|(at, _)| !before(*at).is_some_and(is_option));
        let (_, run) = positional.or_else(|| runs().next())?;
        Some(run.into())
    }

    /// The last value of an option.
    fn option(&self, name: &str) -> Option<String> {
        self.values(name).pop()
    }

    /// All values of `--NAME VALUE` and `--NAME=VALUE`, in order.
    fn values(&self, name: &str) -> Vec<String> {
        let flag = format!("--{name}");
        let mut values = Vec::new();
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            let value = if *argument == flag {
                arguments.next().map(String::as_str)
            } else {
                argument
                    .strip_prefix(&flag)
                    .and_then(|rest| rest.strip_prefix('='))
            };
            values.extend(value.map(str::to_owned));
        }
        values
    }
}

/// The value of the top-level string `key` in a configuration file. `None` where the file or the
/// key is missing or is something else: the program says so with line and column.
fn configured(file: &Path, key: &str) -> Option<String> {
    let metadata = std::fs::metadata(file).ok()?;
    // A pipe can be read once only, and a device for ever.
    if !metadata.is_file() || metadata.len() > LARGEST_FILE {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    let table: toml::Table = toml::from_str(&text).ok()?;
    Some(table.get(key)?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peek(arguments: &[&str]) -> Peek {
        let words: Vec<OsString> = arguments.iter().map(Into::into).collect();
        Peek::new(&words)
    }

    /// A folder whose `config.toml` says `text`, and its path.
    fn run(text: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("config.toml"), text).expect("writable");
        let path = dir.path().to_str().expect("a temporary path is text");
        let path = path.to_owned();
        (dir, path)
    }

    #[test]
    fn mujoco_is_needed_for_its_tasks_and_only_wanted_otherwise() {
        for needs in [
            &["train"][..],
            &["train", "--env", "Hopper-v4"],
            &["train", "--env=Hopper-v4"],
            &["train", "--unheard-of", "--env", "Hopper-v4"],
            &["render", "no-such-run", "--out", "a.gif"],
            &["train", "--set", "env=Hopper-v4", "--env", "Pendulum-v1"],
        ] {
            assert_eq!(peek(needs).physics(), Physics::Needed, "{needs:?}");
        }
        for wants in [
            &["train", "--env", "Pendulum-v1"][..],
            &["train", "--set", "env=\"Pendulum-v1\""],
            &["train", "--help"],
            &["train", "--config", "no-such-file"],
            &["render", "-h"],
            &["help", "train"],
            &["envs"],
            &["eval", "no-such-run"],
            &["bench", "update"],
        ] {
            assert_eq!(peek(wants).physics(), Physics::Wanted, "{wants:?}");
        }
    }

    #[test]
    fn the_task_of_a_configuration_file_or_a_run_counts() {
        let (_hopper, hopper) = run("env = \"Hopper-v4\"\n");
        let (_pendulum, pendulum) = run("env = \"Pendulum-v1\"\n");
        let (_silent, silent) = run("seed = 1\n");
        let silent = format!("{silent}/config.toml");
        let file = format!("{pendulum}/config.toml");
        for needs in [
            &["eval", &hopper][..],
            &["eval", "--json", &hopper],
            &["eval", "--checkpoint", "best", &hopper],
            &["eval", "--against", &pendulum, &hopper],
            &["train", "--resume", &hopper],
            &["train", "--config", &silent],
        ] {
            assert_eq!(peek(needs).physics(), Physics::Needed, "{needs:?}");
        }
        for wants in [
            &["eval", &pendulum][..],
            &["train", "--resume", &pendulum],
            &["train", "--config", &file],
            &["train", "--steps", "5", "--config", &file, "--seed", "1"],
        ] {
            assert_eq!(peek(wants).physics(), Physics::Wanted, "{wants:?}");
        }
    }

    #[test]
    fn a_backend_is_built_where_it_is_used() {
        let (_dir, run) = run("backend = \"wgpu\"\n");
        for (arguments, feature) in [
            (&["train", "--backend", "cuda"][..], Some("cuda")),
            (
                &["train", "--set", "backend=wgpu", "--backend", "cuda"],
                Some("wgpu"),
            ),
            (&["train", "--backend", "ndarray"], Some("ndarray")),
            (&["train"], None),
            (&["train", "--resume", &run], Some("wgpu")),
            (&["eval", &run], Some("wgpu")),
            (&["eval", &run, "--backend", "flex"], None),
            (&["eval", &run, "--help"], None),
            (&["render", &run, "--out", "a.gif"], Some("wgpu")),
            (&["bench", "update", "--backend", "vulkan"], Some("vulkan")),
            (&["bench", "update", "--backend=vulkan"], Some("vulkan")),
            (&["devices", "--backend", "cuda"], Some("cuda")),
            // Drawing curves computes nothing.
            (&["plot", &run, "--out", "a.svg"], None),
            (&["envs"], None),
        ] {
            assert_eq!(peek(arguments).backend(), feature, "{arguments:?}");
        }
    }

    #[test]
    fn unknown_names_are_refused_wherever_they_are_given() {
        let (_dir, folder) = run("");
        let file = format!("{folder}/config.toml");
        for bad in [
            &["trian"][..],
            &["train", "--algo", "ppo"],
            &["train", "--env", "Hoper-v4"],
            &["train", "--backend", "kuda"],
            &["train", "--set", "env=Hoper-v4"],
            &["eval", "run", "--backend", "flx"],
            &["bench", "act", "--particles", "4", "--algo", "ppo"],
            &["bench", "act", "--algo", "dpmd", "--algo=ppo"],
            &["render", "--env", "Hoper-v4", "--out", "a.gif"],
        ] {
            let failure = peek(bad).check_names().expect_err("must be refused");
            assert_eq!(failure.code, crate::failure::code::USAGE, "{bad:?}");
        }
        let failure = peek(&["docter"]).check_names().expect_err("refused");
        assert_eq!(failure.hints[0], "did you mean `doctor`?");
        for text in ["algo = \"ppo\"", "env = \"Hoper-v4\"", "backend = \"flx\""] {
            std::fs::write(&file, text).expect("writable");
            let train = peek(&["train", "--config", &file]);
            let failure = train.check_names().expect_err("must be refused");
            assert_eq!(failure.code, crate::failure::code::USAGE, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_name_is_left_to_the_program() {
        for left in [
            &["train", "--set", "gamma"][..],
            &["train", "--steps", "many"],
            &["train", "--config", "no-such-file"],
            &["train", "--env"],
            &["train", "--algo", "ppo", "--help"],
            &["plot", "--over-seeds"],
            &["eval", "--", "--backend", "flx"],
        ] {
            assert_eq!(peek(left).check_names(), Ok(()), "{left:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_read() {
        assert_eq!(configured(Path::new("/dev/zero"), "env"), None);
    }
}
