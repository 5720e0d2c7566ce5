//! Plans from files of sweeps, and their folders.

use super::*;

const SWEEP: &str = "algorithms = [\"sac\"]\ntasks = [\"Pendulum-v1\", \"MultiGoal-v0\"]\n\
                     seeds = [0, 3]\nsteps = 20_000\n[set]\ngamma = [0.9, 0.95]\n";

fn planned(text: &str) -> Result<Vec<(PlannedRun, Config)>, RunError> {
    plan("sweep.toml", text, &Request::default())
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn runs_are_numbered_by_algorithm_task_setting_and_seed() {
    let runs = planned(SWEEP).expect("valid");
    let described: Vec<_> = runs.iter().map(|(run, _)| run.describe()).collect();
    assert_eq!(described.len(), 8);
    assert_eq!(
        described[..3],
        [
            "sac on Pendulum-v1, seed 0, gamma=0.9",
            "sac on Pendulum-v1, seed 3, gamma=0.9",
            "sac on Pendulum-v1, seed 0, gamma=0.95",
        ]
    );
    assert_eq!(runs[7].0.folder, "0007-sac-MultiGoal-v0-s3");
    // Each is what `train` with the same options would make.
    let alone = resolve(&Request {
        algo: Some("sac".to_owned()),
        env: Some("MultiGoal-v0".to_owned()),
        seed: Some(3),
        steps: Some(20_000),
        set: vec!["gamma=0.95".to_owned()],
        ..Request::default()
    });
    assert_eq!(runs[7].1, alone.expect("valid"));
}

#[test]
fn what_train_would_refuse_is_refused_with_its_place_in_the_file() {
    for (from, to, message, hint) in [
        (
            "sac",
            "sca",
            "sweep.toml:1:1: unknown algorithm `sca`",
            "dpmd, sdac, sac",
        ),
        (
            "MultiGoal-v0",
            "Multi",
            "sweep.toml:2:1: unknown task `Multi`",
            "MultiGoal-v0",
        ),
        (
            "gamma",
            "gama",
            "sweep.toml:6:1: unknown key `gama`",
            "`agent.gamma`",
        ),
        ("0.95", "1.5", "agent.gamma", ""),
        ("20_000", "10", "sweep.toml:4:1", ""),
        (
            "[set]",
            "preset = \"hueg\"\n[set]",
            "unknown preset `hueg`",
            "small",
        ),
        (
            "[0, 3]",
            "[0, 0]",
            "sweep.toml:3:1: runs 0 and 1 are the same: sac on Pendulum-v1, seed 0",
            "twice",
        ),
        (
            "0.95",
            "0.9",
            "sweep.toml:6:1: runs 0 and 2 are the same",
            "twice",
        ),
    ] {
        let error = planned(&SWEEP.replace(from, to)).expect_err(message);
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains(message), "{message}: {error}");
        let found = error.hint().unwrap_or_default();
        assert!(found.contains(hint), "{message}: {found}");
    }
}

#[test]
fn a_key_that_is_a_list_itself_takes_a_list_of_lists() {
    let with = |line: &str| SWEEP.to_owned() + "critic.network.kind = \"mlp\"\n" + line;
    let error = planned(&with("critic.network.hidden_dims = [32, 32]\n")).expect_err("one list");
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("write [[32, 32]]"), "{error}; {hint}");
    assert!(planned(&with("critic.network.hidden_dims = [[32, 32]]\n")).is_ok());
}

#[test]
fn a_plan_is_read_as_it_was_written_and_does_not_change() {
    let folder = folder();
    let folder = &folder.path().join("a/sweep");
    let written = Plan::write(folder, SWEEP, planned(SWEEP).expect("valid")).expect("writable");
    let plan = Plan::read(folder).expect("readable");
    assert_eq!(
        (plan.hash.as_str(), plan.runs.len()),
        (written.hash.as_str(), 8)
    );
    plan.require_version().expect("this program planned it");
    for (run, (_, config)) in plan.runs.iter().zip(planned(SWEEP).expect("valid")) {
        assert_eq!(plan.config(run).expect("as planned"), config);
    }
    // The same again is nothing new, another is refused.
    Plan::write(folder, SWEEP, planned(SWEEP).expect("valid")).expect("the same");
    let other = SWEEP.replace("[0, 3]", "[0]");
    let error = Plan::write(folder, &other, planned(&other).expect("valid"));
    let error = error.expect_err("another sweep");
    assert_eq!(error.exit_code(), 2);
    assert!(
        error.to_string().contains("another sweep, of 8 runs"),
        "{error}"
    );
    let error = plan.run(8).expect_err("out of range");
    let hint = error.hint().unwrap_or_default();
    assert!(error.to_string().contains("no run 8"), "{error}");
    assert!(hint.contains("0 to 7"), "{hint}");
}

#[test]
fn a_plan_that_was_changed_or_is_of_another_format_is_refused() {
    let folder = folder();
    let folder = folder.path();
    assert_eq!(Plan::read(folder).expect_err("no sweep").exit_code(), 2);
    // What a process leaves that was killed while it planned.
    fs::create_dir(folder.join(UNFINISHED)).expect("writable");
    Plan::write(folder, SWEEP, planned(SWEEP).expect("valid")).expect("writable");
    let path = folder.join("plan/plan.json");
    let text = fs::read_to_string(&path).expect("written");
    for (from, to, code, message) in [
        ("\"format\": 1", "\"format\": 2", 2, "the format 2, not 1"),
        ("0003-sac", "../../3-sac", 74, "was changed"),
        ("\"seed\": 3", "\"seed\": 4", 74, "was changed"),
        ("\"index\": 7", "\"index\": 6", 74, "was changed"),
        ("\"hash\": \"", "\"hash\": \"0", 74, "was changed"),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).expect("writable");
        let error = Plan::read(folder).expect_err(message);
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    fs::write(&path, text.replace(&version, "\"version\": \"0.0.0\"")).expect("writable");
    let plan = Plan::read(folder).expect("readable");
    let error = plan.require_version().expect_err("another version");
    assert!(
        error.to_string().contains("planned by version 0.0.0"),
        "{error}"
    );
    let config = folder.join("plan/0001.toml");
    let changed = fs::read_to_string(&config).expect("written") + "\n";
    fs::write(&config, changed).expect("writable");
    let error = plan.config(&plan.runs[1]).expect_err("changed");
    assert!(error.to_string().contains("as planned"), "{error}");
    assert!(plan.config(&plan.runs[0]).is_ok());
    let theirs = folder.join("theirs");
    fs::create_dir(&theirs).expect("writable");
    fs::write(theirs.join("precious"), "mine").expect("writable");
    let error = Plan::write(&theirs, SWEEP, planned(SWEEP).expect("valid"));
    let error = error.expect_err("something else").to_string();
    assert!(error.contains("holds precious"), "{error}");
}
