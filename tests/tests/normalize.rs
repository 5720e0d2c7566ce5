//! What the agent sees is normalised; what is stored is not.

use std::fs;
use std::path::Path;

use rescore_tests::program::{are_equal, command, read, rescore, stderr, stdout, tiny, trains};
use rescore_tests::runs::{assert_same, contents};

/// Lengths of an observation and of an action of Pendulum-v1.
const DIMS: (usize, usize) = (3, 1);
/// Bytes before the first record of a segment.
const HEADER: usize = 32;
/// Transitions of warm-up, which no agent has a say in.
const WARMUP: usize = 50;

const BOTH: &[&str] = &[
    "--set",
    "normalize_observation=true",
    "--set",
    "normalize_reward=true",
];

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The records of the replay buffer of `run`, from its first segment.
fn records(run: &Path) -> Vec<Vec<f32>> {
    let bytes = fs::read(run.join("replay/seg-00000000.bin")).expect("a run has stored something");
    let (values, rest) = bytes[HEADER..].as_chunks::<4>();
    assert!(rest.is_empty());
    let values: Vec<_> = values
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let width = 2 * DIMS.0 + DIMS.1 + 2;
    values.chunks_exact(width).map(<[f32]>::to_vec).collect()
}

#[test]
fn observations_and_rewards_are_stored_raw() {
    for overlap in ["overlap=false", "overlap=true"] {
        let folder = temporary();
        let folder = folder.path();
        let common = ["--algo", "sac", "--seed", "3", "--set", overlap];
        trains(folder, &tiny(&[&common[..], &["--out", "raw"]].concat()));
        let out = ["--out", "normalised"];
        trains(folder, &tiny(&[&common[..], BOTH, &out].concat()));
        let (raw, normalised) = (
            records(&folder.join("raw")),
            records(&folder.join("normalised")),
        );
        assert_eq!(raw.len(), 150);
        assert_eq!(normalised[..WARMUP], raw[..WARMUP], "random actions");
        assert_ne!(normalised, raw, "another agent acts");
        for record in &normalised {
            let (observation, rest) = record.split_at(DIMS.0);
            let (reward, next) = (rest[DIMS.1], &rest[DIMS.1 + 1..]);
            // Cosine and sine of the pendulum's angle.
            for [cos, sin] in [[observation[0], observation[1]], [next[0], next[1]]] {
                assert!((cos * cos + sin * sin - 1.0).abs() < 1e-5, "{record:?}");
            }
            assert!((-17.0..=0.0).contains(&reward), "{record:?}");
        }
    }
}

#[test]
fn a_checkpoint_is_evaluated_with_its_own_statistics() {
    let folder = temporary();
    let folder = folder.path();
    let more = ["--steps", "40", "--out", "run"];
    trains(folder, &tiny(&[&more[..], BOTH].concat()));
    let csv = read(&folder.join("run/eval.csv"));
    let row = csv.lines().nth(1).expect("one evaluation");
    let logged: Vec<f64> = (row.split(',').skip(4))
        .map(|number| number.parse().expect("a number"))
        .collect();
    let evaluate = || {
        let output = rescore(folder, &["eval", "run", "--json"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let report: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        let returns = report["returns"].as_array().expect("a list").clone();
        let returns = returns.iter().map(|x| x.as_f64().expect("a number"));
        returns.collect::<Vec<_>>()
    };
    assert!(are_equal(&evaluate(), &logged), "{logged:?}");
    // And not because it makes no difference.
    let config = read(&folder.join("run/config.toml"));
    let without = config.replace(
        "normalize_observation = true",
        "normalize_observation = false",
    );
    fs::write(folder.join("run/config.toml"), without).expect("writable");
    assert!(!are_equal(&evaluate(), &logged), "{logged:?}");
}

#[test]
fn a_run_that_normalises_goes_on_to_the_bit() {
    for (algo, overlap) in [
        ("sac", "overlap=false"),
        ("sac", "overlap=true"),
        ("dpmd", "overlap=true"),
    ] {
        let folder = temporary();
        let folder = folder.path();
        let common = ["--algo", algo, "--seed", "4", "--set", overlap];
        let arguments = |out, steps| {
            let these = ["--out", out, "--steps", steps];
            tiny(&[&common[..], BOTH, &these].concat())
        };
        for threads in ["1", "2"] {
            let status = command(folder, &arguments(threads, "240"))
                .env("RAYON_NUM_THREADS", threads)
                .status();
            assert!(status.is_ok_and(|status| status.success()), "{algo}");
        }
        assert_same(&folder.join("1"), &folder.join("2"));
        // A multiple of every interval, so that nothing extra is due at the first end.
        trains(folder, &arguments("parts", "120"));
        trains(folder, &["train", "--resume", "parts", "--steps", "240"]);
        assert_same(&folder.join("1"), &folder.join("parts"));
    }
}

#[test]
fn each_normaliser_changes_what_is_learned() {
    let folder = temporary();
    let folder = folder.path();
    let agent = |out: &'static str, set: &[&'static str]| {
        let common = ["--algo", "sac", "--seed", "4", "--out", out];
        let set = set.iter().flat_map(|setting| ["--set", setting]);
        trains(
            folder,
            &tiny(&common.into_iter().chain(set).collect::<Vec<_>>()),
        );
        let files = contents(&folder.join(out));
        files[Path::new("checkpoints/100/agent.safetensors")].clone()
    };
    let agents = [
        agent("raw", &[]),
        agent("observation", &["normalize_observation=true"]),
        agent(
            "clip",
            &["normalize_observation=true", "observation_clip=0.5"],
        ),
        agent("reward", &["normalize_reward=true"]),
        agent(
            "return",
            &["normalize_reward=true", "normalized_return_max=1"],
        ),
    ];
    for (index, agent) in agents.iter().enumerate() {
        assert!(!agents[..index].contains(agent), "agent {index}");
    }
}

/// Returns of Pendulum go to -1600, and the support ends at -5: said once, with the share.
#[test]
fn returns_that_leave_the_support_are_warned_of_once() {
    let folder = temporary();
    let warnings = |more: &[&str]| {
        let output = trains(folder.path(), &tiny(more));
        stderr(&output).matches("the ends of their support").count()
    };
    let long = ["--steps", "400", "--set", "updates_per_step=1"];
    assert_eq!(warnings(&[&long[..], &["--out", "raw"]].concat()), 1);
    let normalised = [&long[..], BOTH, &["--out", "normalised"]].concat();
    assert_eq!(warnings(&normalised), 0);
}
