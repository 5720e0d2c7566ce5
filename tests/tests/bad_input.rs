//! What the program `rescore` refuses: exit codes and messages.

use std::fs;
use std::process::{Child, Stdio};

use rescore_tests::program::{command, fails, read, tiny, trains};

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn bad_names_end_with_2_and_a_suggestion() {
    let folder = temporary();
    let folder = folder.path();
    for (arguments, messages) in [
        (
            ["--env", "Pendulum-v2"],
            ["unknown task `Pendulum-v2`", "`Pendulum-v1`"],
        ),
        (["--algo", "dpdm"], ["unknown algorithm `dpdm`", "`dpmd`"]),
        (
            ["--backend", "flexx"],
            ["unknown backend `flexx`", "`flex`"],
        ),
        (
            ["--backend", "cuda"],
            [
                "`cuda` is not compiled",
                "`cargo xtask train --backend cuda` builds",
            ],
        ),
        (
            ["--set", "gama=0.9"],
            ["unknown key `gama`", "`agent.gamma`"],
        ),
        (
            ["--set", "preset=refrence"],
            ["unknown preset `refrence`", "small, full"],
        ),
        (["--set", "gamma"], ["--set gamma", "KEY=VALUE"]),
        (["--stepz", "5"], ["--stepz", "--steps"]),
    ] {
        fails(folder, &tiny(&arguments), 2, &messages);
    }
    assert_eq!(
        fs::read_dir(folder).expect("a folder").count(),
        0,
        "something was created"
    );
}

#[test]
fn bad_numbers_end_with_2() {
    let folder = temporary();
    for steps in ["0", "-1", "NaN", "1.5", "many"] {
        let arguments = ["train", "--env", "Pendulum-v1", &format!("--steps={steps}")];
        fails(folder.path(), &arguments, 2, &["--steps"]);
    }
    for (setting, key) in [
        ("lr=-1e-3", "agent.critic.learning_rate"),
        ("critic.learning_rate=nan", "agent.critic.learning_rate"),
        ("gamma=1.01", "agent.gamma"),
        ("gamma=nan", "agent.gamma"),
        ("regression.particles=0", "agent.regression.particles"),
        ("regression.particles=-4", "agent.regression.particles"),
        ("denoising_steps=2.5", "agent.actor.denoising_steps"),
        ("acting.noise=inf", "agent.acting.noise"),
        ("hidden_dims=[]", "agent.critic.network.hidden_dims"),
        ("schedule=cubic", "agent.actor.schedule"),
        ("batch_size=0", "training.batch_size"),
        ("acting.particles=1e9", "agent.acting.particles"),
        ("acting.particles=65537", "agent.acting.particles"),
        ("loss_clip=0", "agent.regression.loss_clip"),
        ("weights=quadratic", "agent.regression.weights"),
        // A divergence of 0 or of all there is, and weights of one particle.
        ("kl_share=0", "agent.temperature.kl_share"),
        ("kl_share=1", "agent.temperature.kl_share"),
        ("regression.particles=1", "agent.regression.particles"),
        // tau above 1 at this discount and this update-to-data ratio
        (
            "target.environment_steps=100",
            "agent.target.environment_steps",
        ),
        ("critic.value.atoms=1", "agent.critic.value.atoms"),
        ("critic.value.low=7", "agent.critic.value.low"),
        ("evaluation.episodes=100000000000000", "evaluation.episodes"),
        ("evaluation.max_steps=0", "evaluation.max_steps"),
        ("updates_per_step=0", "training.updates_per_step"),
        ("updates_per_step=nan", "training.updates_per_step"),
        ("warmup_steps=2000000", "training.warmup_steps"),
        ("seed=-1", "seed"),
        ("steps=0", "steps"),
    ] {
        let option = format!("--set {setting}");
        fails(
            folder.path(),
            &tiny(&["--set", setting]),
            2,
            &[&option, key],
        );
    }
    // Two settings that do not go together.
    for (settings, key) in [
        (
            ["critic.network.kind=batch_norm", "batch_size=1"],
            "agent.critic.network.kind",
        ),
        (
            ["old_policy.kind=held", "old_policy.environment_steps=0"],
            "agent.old_policy.environment_steps",
        ),
        (["target.kind=rate", "target.tau=-0.1"], "agent.target.tau"),
        (["target.kind=rate", "target.every=0"], "agent.target.every"),
        // At this discount no rate gives the values a time constant.
        (["gamma=1", "lr=1e-3"], "agent.target.environment_steps"),
        (
            ["old_policy.kind=none", "old_policy.environment_steps=9"],
            "agent.old_policy.environment_steps",
        ),
        // so long a schedule leaves nothing of the action and overflows
        (
            ["schedule=linear", "denoising_steps=400"],
            "agent.actor.denoising_steps",
        ),
        (
            ["critic.value.kind=scalar", "critic.value.atoms=51"],
            "agent.critic.value.atoms",
        ),
    ] {
        let [a, b] = settings;
        let arguments = tiny(&["--set", a, "--set", b]);
        fails(folder.path(), &arguments, 2, &[key]);
    }
    let counted = tiny(&["--set", "count_warmup=true", "--steps", "50"]);
    let message = [
        "--steps 50: `steps` is 50",
        "the first 50",
        "hint: ",
        "count_warmup=false",
    ];
    fails(folder.path(), &counted, 2, &message);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn bad_presets_end_with_2() {
    let folder = temporary();
    let folder = folder.path();
    let train = ["train", "--algo", "sac", "--preset", "refrence"];
    let message = [
        "--preset refrence: unknown preset",
        "did you mean `reference`?",
    ];
    fails(folder, &train, 2, &message);
    fails(
        folder,
        &["config", "sac", "--preset", "refrence"],
        2,
        &message,
    );
    let none = ["config", "dpmd-reference", "--preset", "reference"];
    fails(folder, &none, 2, &["`dpmd-reference`", "preset"]);
    let resume = ["train", "--resume", "run", "--preset", "reference"];
    fails(folder, &resume, 2, &["--resume", "--preset"]);
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 0);
}

/// Within all ranges, and far larger than any memory: refused before an allocation can fail.
#[test]
fn networks_that_fit_nowhere_are_refused() {
    let folder = temporary();
    let wide = format!("hidden_dims=[{}]", ["65536"; 64].join(","));
    let words = ["the networks and an update take", "`hidden_dims`"];
    fails(folder.path(), &tiny(&["--set", &wide]), 2, &words);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn a_broken_configuration_file_is_named_with_line_and_column() {
    let folder = temporary();
    let file = folder.path().join("my.toml");
    for (text, place) in [
        ("seed = 1\n[agent\n", "my.toml:2:"),
        (
            "seed = 1\n[agent]\ngama = 0.9\n",
            "my.toml:3:1: unknown key `agent.gama`",
        ),
        ("[agent]\ngamma = -1\n", "my.toml:2:1: `agent.gamma`"),
        ("steps = \"many\"\n", "my.toml:1:1: `steps`"),
        ("seed = 1\0\n", "my.toml:1:"),
    ] {
        fs::write(&file, text).expect("writable");
        fails(
            folder.path(),
            &["train", "--config", "my.toml"],
            2,
            &[place],
        );
    }
    fs::write(&file, [0xff, 0xfe, 0x00]).expect("writable");
    fails(
        folder.path(),
        &["train", "--config", "my.toml"],
        74,
        &["my.toml"],
    );
    fails(
        folder.path(),
        &["train", "--config", "none.toml"],
        74,
        &["none.toml"],
    );
}

#[test]
fn run_folders_that_cannot_be_used_are_refused() {
    let folder = temporary();
    let folder = folder.path();
    fs::create_dir(folder.join("full")).expect("writable");
    fs::write(folder.join("full/precious.txt"), "mine").expect("writable");
    fails(
        folder,
        &tiny(&["--out", "full"]),
        2,
        &["full", "not empty", "hint: "],
    );
    let left: Vec<_> = fs::read_dir(folder.join("full"))
        .expect("a folder")
        .collect();
    assert_eq!(left.len(), 1, "a file was left in somebody's folder");

    // Nor where it looks like a run.
    fs::write(folder.join("full/config.toml"), "mine = 1").expect("writable");
    fails(folder, &tiny(&["--out", "full"]), 2, &["not empty"]);
    assert!(!folder.join("full/LOCK").exists());

    // A path below a regular file cannot be written, not even by root.
    fs::write(folder.join("file"), "").expect("writable");
    fails(folder, &tiny(&["--out", "file/run"]), 74, &["file/run"]);
    fails(folder, &tiny(&["--out", "file"]), 74, &["file"]);
}

/// Ends a child process when a test is over, also when it fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_folder_held_by_a_running_process_ends_with_73() {
    let folder = temporary();
    let run = folder.path().join("run");
    let arguments = tiny(&["--steps", "100000000", "--out", "run"]);
    let mut process = Killed(
        command(folder.path(), &arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts"),
    );
    let start = std::time::Instant::now();
    while !run.join("manifest.json").exists() {
        let ended = process.0.try_wait().expect("our own child");
        assert!(ended.is_none(), "the run ended early: {ended:?}");
        assert!(start.elapsed().as_secs() < 60, "the run does not begin");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    fails(
        folder.path(),
        &tiny(&["--out", "run"]),
        73,
        &["run", "held"],
    );
    drop(process);
    fails(folder.path(), &tiny(&["--out", "run"]), 2, &["not empty"]);
}

#[test]
fn policies_that_do_not_fit_are_refused_by_file_name() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &tiny(&["--out", "run"]));
    trains(
        folder,
        &tiny(&["--set", "hidden_dims=[8, 8]", "--out", "narrow"]),
    );
    let state = "checkpoints/100/agent.safetensors";
    let good = fs::read(folder.join("run").join(state)).expect("just written");
    let with_state = |bytes: &[u8], code: i32, messages: &[&str]| {
        fs::write(folder.join("run").join(state), bytes).expect("writable");
        fails(folder, &["eval", "run"], code, messages);
    };

    let narrow = fs::read(folder.join("narrow").join(state)).expect("just written");
    with_state(&narrow, 1, &["agent.safetensors", "shape"]);
    for length in [0, 7, 100, good.len() / 2] {
        with_state(&good[..length], 74, &["agent.safetensors", "damaged"]);
    }
    let mut flipped = good.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    with_state(&flipped, 74, &["agent.safetensors", "hash"]);
    fs::write(folder.join("run").join(state), &good).expect("writable");

    // A configuration of another task or algorithm beside the checkpoint.
    let config = read(&folder.join("run/config.toml"));
    for (from, to, message) in [
        ("Pendulum-v1", "MultiGoal-v0", "observation length"),
        (
            "hidden_dims = [16, 16]",
            "hidden_dims = [16, 16, 16]",
            "agent.safetensors",
        ),
    ] {
        let changed = config.replace(from, to);
        assert_ne!(changed, config, "`{from}` is not in config.toml");
        fs::write(folder.join("run/config.toml"), changed).expect("writable");
        fails(folder, &["eval", "run"], 1, &[message]);
    }
    fs::write(folder.join("run/config.toml"), "seed = [").expect("writable");
    fails(folder, &["eval", "run"], 2, &["config.toml:1:"]);
}

#[test]
fn a_run_that_diverges_stops_and_says_what_is_not_finite() {
    let folder = temporary();
    let folder = folder.path();
    // The first critic step makes the weights so large that the next product overflows.
    let arguments = tiny(&["--set", "lr=1e30", "--set", "num_envs=5", "--out", "run"]);
    fails(folder, &arguments, 1, &[" at step 5 (update 1)"]);
    assert!(!folder.join("run/DONE").exists());
    assert!(
        !folder.join("run/checkpoints").exists(),
        "a broken policy was stored"
    );
}

/// A name that is no model's, and a path that leads nowhere.
#[cfg(feature = "mujoco")]
#[test]
fn a_task_model_that_is_not_there_is_named() {
    let folder = temporary();
    let known = ["hoper.xml", "hopper.xml", "./my_model.xml"];
    for (setting, code, parts) in [
        ("xml_file=hoper.xml", 2, &known[..]),
        ("xml_file=./hopper.xml", 74, &["/hopper.xml cannot be used"]),
    ] {
        let arguments = tiny(&["--env", "Hopper-v5", "--set", setting]);
        fails(folder.path(), &arguments, code, parts);
    }
}

/// A configuration or a table of results that is no file, or has no end, is refused by whoever
/// reads it; a pipe is what `--config` may be.
#[cfg(unix)]
#[test]
fn endless_and_special_files_are_refused() {
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::process::Command;
    type Spoil<'a> = &'a dyn Fn(&Path);

    let sac = |more: &[&'static str]| tiny(&[&["--algo", "sac"], more].concat());
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &sac(&["--out", "run"]));
    let spoil: [(&str, Spoil<'_>, &str); 4] = [
        (
            "a pipe",
            &|path| {
                let status = Command::new("mkfifo").arg(path).status();
                assert!(status.is_ok_and(|status| status.success()));
            },
            "not a regular file",
        ),
        (
            "a device",
            &|path| symlink("/dev/zero", path).expect("writable"),
            "not a regular file",
        ),
        (
            "a folder",
            &|path| fs::create_dir(path).expect("writable"),
            "not a regular file",
        ),
        (
            "a tebibyte",
            &|path| {
                let file = fs::File::create(path).expect("writable");
                file.set_len(1 << 40).expect("sparse");
            },
            "bytes long",
        ),
    ];
    for (what, spoil, words) in spoil {
        for (name, commands) in [
            (
                "config.toml",
                &[
                    &["eval", "run"][..],
                    &["train", "--resume", "run"],
                    &["plot", "--over-seeds", "run", "--out", "a.svg"],
                ][..],
            ),
            (
                "eval.csv",
                &[
                    &["plot", "run", "--out", "a.svg"],
                    &["train", "--resume", "run", "--steps", "140"],
                ],
            ),
        ] {
            let path = folder.join("run").join(name);
            let good = fs::read(&path).expect("there");
            fs::remove_file(&path).expect("there");
            spoil(&path);
            for arguments in commands {
                // Of a table that is gone on with, only the rows are read.
                let is_cut = what == "a tebibyte" && name == "eval.csv" && arguments[0] == "train";
                let words = if is_cut { "is longer than" } else { words };
                fails(folder, arguments, 74, &[name, words]);
            }
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
            fs::write(&path, good).expect("writable");
        }
    }
    fails(
        folder,
        &sac(&["--config", "/dev/zero", "--out", "b"]),
        74,
        &["/dev/zero", "longer than"],
    );
    fails(
        folder,
        &sac(&["--config", ".", "--out", "b"]),
        74,
        &["cannot read ."],
    );
    let mut child = command(folder, &sac(&["--config", "/dev/stdin", "--out", "piped"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut pipe = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut pipe, b"seed = 77\n").expect("it reads");
    drop(pipe);
    assert!(child.wait().expect("our own child").success());
    assert!(read(&folder.join("piped/config.toml")).contains("seed = 77"));
}

#[test]
fn settings_of_the_baselines_are_checked_and_belong_to_them() {
    let folder = temporary();
    for (algo, setting, words) in [
        // Of another algorithm, whose name helps.
        ("dpmd", "expectile=0.5", ["expectile", "idql"]),
        ("qsm", "train_samples=4", ["train_samples", "qvpo"]),
        ("sac", "sde.steps=5", ["sde.steps", "score-sde"]),
        ("idql", "ascent_steps=5", ["ascent_steps", "dipo"]),
        // Out of range.
        ("idql", "expectile=0", ["agent.expectile", "in (0, 1)"]),
        ("idql", "expectile=1.0", ["agent.expectile", "in (0, 1)"]),
        (
            "idql",
            "selection_expectile=nan",
            ["agent.selection_expectile", "in (0, 1)"],
        ),
        ("idql", "candidates=0", ["agent.candidates", "in 1..=65536"]),
        (
            "idql",
            "critic.value.kind=categorical",
            ["agent.critic.value.kind", "scalar"],
        ),
        (
            "qvpo",
            "train_samples=0",
            ["agent.train_samples", "in 1..="],
        ),
        ("score-sde", "samples=0", ["agent.samples", "in 1..=65536"]),
        (
            "score-sde",
            "sde.steps=0",
            ["agent.sde.steps", "in 1..=1000"],
        ),
        (
            "score-sde",
            "sde.time_end=1.0",
            ["agent.sde.time_end", "in (0, 1)"],
        ),
        (
            "score-sde",
            "sde.sampler=heun",
            ["agent.sde.sampler", "probability_flow"],
        ),
        (
            "qsm",
            "denoising_steps=0",
            ["agent.actor.denoising_steps", "in 1..=1000"],
        ),
        ("qsm", "actor.sampler=dpm", ["agent.actor.sampler", "ddim"]),
        (
            "qsm",
            "score.temperature=0",
            ["agent.score.temperature", "greater than 0"],
        ),
        (
            "dipo",
            "ascent_steps=0",
            ["agent.ascent_steps", "in 1..=1000"],
        ),
        (
            "idem",
            "reverse_samples=0",
            ["agent.reverse_samples", "in 1..="],
        ),
        (
            "td3",
            "target.every=2",
            ["agent.target.every", "policy_delay"],
        ),
        ("td3", "best_of=3", ["evaluation.best_of", "deterministic"]),
    ] {
        let arguments = ["--algo", algo, "--set", setting];
        fails(folder.path(), &tiny(&arguments), 2, &words);
    }
}
