//! Models of one's own: which are refused, what becomes of those that diverge, and pinning.
#![cfg(feature = "mujoco")]

use std::path::{Path, PathBuf};

use rescore_envs::mujoco::{model_bytes, pin_model};
use rescore_envs::{Env, EnvError, OptionValue, TaskSettings, VecEnv, make};

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
    <motor joint="slider" gear="100" ctrllimited="true" ctrlrange="-3 3"/>
  </actuator>
</mujoco>
"#;

fn write(folder: &Path, edits: &[(&str, &str)]) -> PathBuf {
    let text = edits.iter().fold(CART.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let path = folder.join("cart.xml");
    std::fs::write(&path, text).expect("the folder can be written");
    path
}

fn settings(path: &Path) -> TaskSettings {
    let path = path.to_str().expect("UTF-8").to_owned();
    TaskSettings {
        options: [("xml_file".to_owned(), OptionValue::Text(path))].into(),
        ..TaskSettings::default()
    }
}

fn made(path: &Path) -> Result<Box<dyn Env>, EnvError> {
    make("InvertedPendulum-v5", &settings(path))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

#[test]
fn a_model_that_diverges_in_every_step_is_an_error_that_names_it() {
    let folder = folder();
    let path = write(folder.path(), &[("gear=\"100\"", "gear=\"1e15\"")]);
    let mut envs = VecEnv::with_settings("InvertedPendulum-v5", &settings(&path), 2, 0)
        .expect("the model itself is sound");
    let mut steps = 0;
    let error = loop {
        match envs.step(&[0.5, 0.5]) {
            Ok(step) => assert_eq!(step.truncated, [true, true]),
            Err(error) => break error,
        }
        steps += 1;
        assert!(steps < 1000, "it goes on for ever");
    };
    let EnvError::InVector { index: 0, source } = &error else {
        panic!("{error}");
    };
    assert!(
        matches!(&**source, EnvError::Diverged { task, .. } if task == "InvertedPendulum-v5"),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("BADQACC") && text.contains(&path.display().to_string()),
        "{text}"
    );
}

#[test]
fn a_step_without_a_warning_ends_the_row() {
    let folder = folder();
    let path = write(folder.path(), &[("gear=\"100\"", "gear=\"1e15\"")]);
    let mut envs = VecEnv::with_settings("InvertedPendulum-v5", &settings(&path), 1, 0)
        .expect("the model itself is sound");
    for _ in 0..3 {
        for _ in 0..900 {
            envs.step(&[0.5]).expect("not too many yet");
        }
        let step = envs.step(&[0.0]).expect("nothing pushes");
        assert_eq!(step.warnings, [0]);
    }
}

#[test]
fn models_that_do_not_fit_are_refused_with_the_actuators_name() {
    let folder = folder();
    write(folder.path(), &[]);
    made(&folder.path().join("cart.xml")).expect("the model as it should be");
    let second = "<motor joint=\"hinge\" ctrlrange=\"-1 1\"/>\n  </actuator>";
    let limits = "ctrllimited=\"true\" ctrlrange=\"-3 3\"";
    for (from, to, expected) in [
        // Without a range, MuJoCo has the range [0, 0].
        (limits, "", "[0, 0], so that actions"),
        (
            "ctrllimited=\"true\"",
            "ctrllimited=\"false\"",
            "ctrllimited=\"false\"",
        ),
        ("-3 3", "-1e300 1e300", "bounds must be finite"),
        ("gear=\"100\"", "gear=\"0\"", "moves nothing"),
        ("<motor", "<general gainprm=\"0\"", "moves nothing"),
        (
            "<option ",
            "<option><flag actuation=\"disable\"/></option><option ",
            "moves nothing",
        ),
    ] {
        let path = write(folder.path(), &[(from, to)]);
        let error = made(&path).err().expect(to);
        assert!(matches!(error, EnvError::UnfitModel { .. }), "{error}");
        let text = error.to_string();
        for part in [
            "actuator 0 (of joint `slider`)",
            expected,
            "`InvertedPendulum-v5`",
            "cart.xml",
        ] {
            assert!(text.contains(part), "no {part} in: {text}");
        }
    }
    for (from, to, expected) in [
        (
            "</actuator>",
            second,
            "2 actuators [0 (of joint `slider`), 1 (of joint `hinge`)], but the task needs 2, 2 \
             and 1",
        ),
        (
            "<joint name=\"hinge\" type=\"hinge\" axis=\"0 1 0\"/>",
            "",
            "1 positions, 1 velocities",
        ),
        (
            "joint=\"slider\" gear",
            "name=\"a\" joint=\"slider\" gear",
            "",
        ),
    ] {
        let path = write(folder.path(), &[(from, to)]);
        match made(&path) {
            Ok(_) => assert_eq!(expected, "", "{to} was accepted"),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }
}

#[test]
fn an_actuator_has_its_own_name_where_it_has_one() {
    let folder = folder();
    let path = write(
        folder.path(),
        &[("<motor ", "<motor name=\"push\" "), ("\"100\"", "\"0\"")],
    );
    let error = made(&path).err().expect("gear 0").to_string();
    assert!(error.contains("actuator 0 (`push`) moves"), "{error}");
}

#[test]
#[cfg(unix)]
fn a_device_is_no_model() {
    let error = made(Path::new("/dev/zero")).err().expect("no model");
    assert!(error.to_string().contains("not a file"), "{error}");
}

fn trace(env: &mut dyn Env) -> Vec<u64> {
    env.reset(Some(3)).expect("it can be reset");
    let mut trace = Vec::new();
    for step in 0..20 {
        let step = env.step(&[0.01 * step as f32]).expect("it runs");
        trace.push(step.reward.to_bits());
        trace.extend(env.observation().iter().map(|x| x.to_bits()));
        if step.done() {
            env.reset(None).expect("it can be reset");
        }
    }
    trace
}

#[test]
fn a_pinned_model_stays_as_it_was_to_the_bit() {
    let folder = folder();
    // With a part that lies in a file of its own.
    let part = "<geom type=\"capsule\" fromto=\"0 0 0 0 0 0.6\" size=\"0.05\" mass=\"1\"/>";
    let include = folder.path().join("part.xml");
    let main = write(folder.path(), &[(part, "<include file=\"part.xml\"/>")]);
    let included = |mass: &str| {
        let part = part.replace("mass=\"1\"", &format!("mass=\"{mass}\""));
        std::fs::write(&include, format!("<mujoco>{part}</mujoco>")).expect("writable");
    };
    included("1");
    let bytes = model_bytes(&main).expect("a sound model");
    assert_eq!(bytes, model_bytes(&main).expect("a sound model"));
    let before = trace(&mut *made(&main).expect("a sound model"));

    included("2");
    let other = trace(&mut *made(&main).expect("a sound model"));
    assert_ne!(before, other);
    let pin = pin_model(&main, &bytes).expect("its own bytes");
    assert!(before == trace(&mut *made(&main).expect("pinned")));
    std::fs::remove_file(&main).expect("it is there");
    assert!(before == trace(&mut *made(&main).expect("pinned")));
    assert_eq!(bytes, model_bytes(&main).expect("pinned"));
    drop(pin);
    assert!(matches!(made(&main), Err(EnvError::InvalidModel { .. })));

    for wrong in [&bytes[..0], &bytes[..100], &[0; 5000]] {
        let error = pin_model(&main, wrong).expect_err("no model");
        assert!(matches!(error, EnvError::InvalidModel { .. }), "{error}");
    }
}

#[test]
fn the_main_body_can_be_given_by_its_number() {
    let with = |value| {
        let settings = TaskSettings {
            options: [("main_body".to_owned(), value)].into(),
            ..TaskSettings::default()
        };
        make("Ant-v5", &settings)
    };
    let run = |value| {
        let mut env = with(value).expect("a body of the ant");
        env.reset(Some(0)).expect("it can be reset");
        let step = env.step(&[0.3; 8]).expect("it runs");
        step.reward.to_bits()
    };
    // The torso is body 1, which is Gymnasium's default.
    let torso = run(OptionValue::Text("torso".into()));
    assert_eq!(run(OptionValue::Integer(1)), torso);
    assert_ne!(run(OptionValue::Integer(4)), torso);
    let error = with(OptionValue::Integer(14)).err().expect("14 bodies");
    assert!(matches!(error, EnvError::UnfitModel { .. }), "{error}");
}
