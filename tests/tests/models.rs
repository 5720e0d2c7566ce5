//! The program with models of the user's own: which it refuses, where it finds them, and what it
//! does when they change or diverge.

use std::fs;
use std::path::Path;

use rescore_tests::program::{command, fails, read, rescore, stderr, tiny, trains};

/// A cart with a pole, as `InvertedPendulum-v5` needs it.
const CART: &str = r#"<mujoco>
  <option timestep="0.02"/>
  <worldbody>
    <body name="cart">
      <joint name="slider" type="slide" axis="1 0 0"/>
      <geom type="sphere" size="0.1" mass="1"/>
      <body name="pole">
        <joint name="hinge" type="hinge" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0 0 0.6" size="0.05" mass="1"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="push" joint="slider" gear="100" ctrllimited="true" ctrlrange="-3 3"/>
  </actuator>
</mujoco>
"#;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Writes the model with `from` replaced by `to`.
fn write(path: &Path, from: &str, to: &str) {
    assert!(CART.contains(from), "{from}");
    fs::write(path, CART.replace(from, to)).expect("writable");
}

fn cart<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let task = ["--algo", "sac", "--env", "InvertedPendulum-v5"];
    tiny(&[&task[..], more].concat())
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).expect("a folder").count()
}

#[test]
fn what_does_not_fit_ends_with_2_before_anything_is_written() {
    let folder = temporary();
    let model = folder.path().join("cart.xml");
    let limits = "ctrllimited=\"true\" ctrlrange=\"-3 3\"";
    for (from, to, message) in [
        ("gear=\"100\"", "gear=\"0\"", "moves nothing"),
        (limits, "", "[0, 0]"),
        ("\"true\"", "\"false\"", "ctrllimited"),
        ("-3 3", "-1e300 1e300", "must be finite"),
    ] {
        write(&model, from, to);
        let arguments = cart(&["--set", "xml_file=./cart.xml"]);
        let messages = ["actuator 0 (`push`)", "cart.xml", message];
        fails(folder.path(), &arguments, 2, &messages);
    }
    // What MuJoCo refuses itself.
    write(&model, "-3 3", "3 -3");
    let arguments = cart(&["--set", "xml_file=./cart.xml"]);
    fails(folder.path(), &arguments, 2, &["push", "cart.xml", "range"]);
    write(&model, "100", "100");
    let ant = ["--set", "xml_file=./cart.xml", "--env", "Ant-v5"];
    fails(
        folder.path(),
        &tiny(&ant),
        2,
        &["2 positions", "1 actuators", "15"],
    );
    assert_eq!(entries(folder.path()), 1, "something was created");
}

#[test]
fn options_in_other_forms_are_taken_or_end_with_2() {
    let folder = temporary();
    for (setting, key, message) in [
        ("healthy_z_range=0.2", "task.healthy_z_range", "two numbers"),
        (
            "healthy_z_range=[0.2]",
            "task.healthy_z_range",
            "two numbers",
        ),
        (
            "healthy_z_range=[0.2, 1.0, 2.0]",
            "task.healthy_z_range",
            "two numbers",
        ),
        (
            "healthy_z_range=[1.0, 0.2]",
            "task.healthy_z_range",
            "lower first",
        ),
        (
            "healthy_z_range=[nan, 1.0]",
            "task.healthy_z_range",
            "lower first",
        ),
        (
            "healthy_z_range=[inf, inf]",
            "task.healthy_z_range",
            "between",
        ),
        (
            "healthy_z_range=0.2 1.0",
            "task.healthy_z_range",
            "two numbers",
        ),
        (
            "healthy_z_range=[\"0.2\", \"1\"]",
            "task.healthy_z_range",
            "two numbers",
        ),
        (
            "healthy_z_range={low = 0.2, high = 1}",
            "task.healthy_z_range",
            "two numbers",
        ),
        (
            "terminate_when_unhealthy=1",
            "task.terminate",
            "true or false",
        ),
        (
            "terminate_when_unhealthy=yes",
            "task.terminate",
            "true or false",
        ),
        ("frame_skip=5.0", "task.frame_skip", "whole number"),
        ("frame_skip=0", "task.frame_skip", "1 to 1000"),
        ("frame_skip=(5, 5)", "task.frame_skip", "whole number"),
        (
            "reset_noise_scale=[0.1, 0.2]",
            "task.reset_noise_scale",
            "number",
        ),
        ("reset_noise_scale=None", "task.reset_noise_scale", "number"),
        (
            "reset_noise_scale=-0.1",
            "task.reset_noise_scale",
            "at least 0",
        ),
        ("ctrl_cost_weight=inf", "task.ctrl_cost_weight", "finite"),
        ("main_body=true", "task.main_body", "a text"),
        ("main_body=1.0", "task.main_body", "a text"),
        ("main_body=99", "Ant-v5", "no body called `99`"),
        ("xml_file=5", "task.xml_file", "a text"),
    ] {
        let arguments = tiny(&["--env", "Ant-v5", "--set", setting]);
        fails(folder.path(), &arguments, 2, &[key, message]);
    }
    let python = [
        "healthy_z_range=(0.2, inf)",
        "terminate_when_unhealthy=False",
        "main_body=1",
        "ctrl_cost_weight=0",
        "warmup_steps=4",
    ];
    let set: Vec<_> = python.iter().flat_map(|text| ["--set", text]).collect();
    let more = [
        "--algo", "sac", "--env", "Ant-v5", "--steps", "2", "--out", "run",
    ];
    trains(folder.path(), &tiny(&[&more[..], &set].concat()));
    let config = read(&folder.path().join("run/config.toml"));
    for line in [
        "healthy_z_range = [0.2, inf]",
        "terminate_when_unhealthy = false",
        "main_body = \"1\"",
        "ctrl_cost_weight = 0.0",
    ] {
        assert!(config.contains(line), "no {line} in: {config}");
    }
}

#[test]
fn a_model_that_diverges_ends_with_1_and_a_short_log() {
    let folder = temporary();
    let model = folder.path().join("cart.xml");
    write(&model, "gear=\"100\"", "gear=\"1e15\"");
    for (out, overlap, warmup) in [
        ("a", "false", "20"),
        ("b", "false", "0"),
        ("c", "true", "20"),
        ("d", "true", "0"),
    ] {
        let [overlap, warmup] = [
            format!("overlap={overlap}"),
            format!("warmup_steps={warmup}"),
        ];
        let set = [
            "--set",
            &overlap,
            "--set",
            &warmup,
            "--set",
            "evaluation.every=1000000",
        ];
        let more = [
            "--out",
            out,
            "--steps",
            "1000000",
            "--set",
            "xml_file=./cart.xml",
        ];
        let output = rescore(folder.path(), &cart(&[&more[..], &set].concat()));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("diverges") && text.contains("BADQACC") && text.contains("cart.xml"),
            "{text}"
        );
        // A few lines, not one for each of a thousand steps.
        assert!(text.lines().count() < 20, "{text}");
    }
}

/// Trains 60 steps with the model and gives the arguments with which this is made longer.
fn train_cart(folder: &Path, out: &str) {
    let more = [
        "--out",
        out,
        "--steps",
        "60",
        "--set",
        "xml_file=models/cart.xml",
    ];
    trains(folder, &cart(&more));
}

#[test]
fn a_diverging_model_ends_evaluation_and_film_with_1() {
    let folder = temporary();
    fs::create_dir(folder.path().join("models")).expect("writable");
    let model = folder.path().join("models/cart.xml");
    write(&model, "100", "100");
    train_cart(folder.path(), "run");
    // Without the copy the run uses the file, and says so.
    fs::remove_file(folder.path().join("run/model.json")).expect("a copy was made");
    write(&model, "gear=\"100\"", "gear=\"1e15\"");
    let messages = ["no copy of the model", "diverges", "BADQACC", "cart.xml"];
    fails(folder.path(), &["eval", "run"], 1, &messages);
    if cfg!(feature = "render") {
        let film = ["render", "run", "--out", "film.gif", "--size", "32x32"];
        fails(folder.path(), &film, 1, &messages);
    }
}

#[test]
fn a_run_keeps_its_model_whatever_becomes_of_the_file() {
    let folder = temporary();
    let folder = folder.path();
    fs::create_dir(folder.join("models")).expect("writable");
    let model = folder.join("models/cart.xml");
    write(&model, "100", "100");
    train_cart(folder, "whole");
    train_cart(folder, "edited");
    train_cart(folder, "removed");
    let config = read(&folder.join("whole/config.toml"));
    let absolute = model.canonicalize().expect("it is there");
    let line = format!("xml_file = \"{}\"", absolute.display());
    let given = format!("xml_file = \"{}\"", model.display());
    assert!(
        config.contains(&line) || config.contains(&given),
        "{config}"
    );
    let sha256 = read(&folder.join("whole/model.json"));
    assert!(sha256.contains("\"xml_sha256\": \""), "{sha256}");

    let other = temporary();
    let sums = |run: &str| read(&folder.join(run).join("checkpoints/100/SHA256SUMS"));
    let path = |run: &str| folder.join(run).display().to_string();
    let resume = |run: &str| {
        // From another folder.
        let path = path(run);
        let output = trains(
            other.path(),
            &["train", "--resume", &path, "--steps", "100"],
        );
        stderr(&output)
    };
    let text = resume("whole");
    assert!(!text.contains("WARN"), "{text}");
    write(&model, "mass=\"1\"", "mass=\"3\"");
    let text = resume("edited");
    assert!(text.contains("cart.xml has been changed"), "{text}");
    assert_eq!(sums("edited"), sums("whole"));
    fs::remove_file(&model).expect("it is there");
    resume("removed");
    assert_eq!(sums("removed"), sums("whole"));
    let eval = |run: &str| {
        let output = trains(other.path(), &["eval", &path(run), "--json"]);
        output.stdout
    };
    assert_eq!(eval("edited"), eval("whole"));

    // A damaged copy is named, not used.
    fs::write(folder.join("edited/model.mjb"), "MJB").expect("writable");
    let edited = path("edited");
    for arguments in [
        vec!["eval", &edited],
        vec!["train", "--resume", &edited, "--steps", "200"],
    ] {
        fails(other.path(), &arguments, 74, &["model.mjb", "SHA-256"]);
    }
}

#[test]
fn the_home_folder_can_be_written_as_a_tilde() {
    let (home, work) = (temporary(), temporary());
    fs::create_dir(home.path().join("models")).expect("writable");
    write(&home.path().join("models/cart.xml"), "100", "100");
    let more = [
        "--out",
        "run",
        "--steps",
        "2",
        "--set",
        "xml_file=~/models/cart.xml",
    ];
    let output = command(work.path(), &cart(&more))
        .env("HOME", home.path())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let config = read(&work.path().join("run/config.toml"));
    let model = home.path().join("models/cart.xml");
    assert!(config.contains(&model.display().to_string()), "{config}");
}
