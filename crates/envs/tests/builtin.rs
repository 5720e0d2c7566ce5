//! The built-in tasks do what their documentation says.

use rescore_envs::{Env, Pendulum, Probe, ProbeKind, Task, TaskEnv, seeded_rng};

/// Gymnasium 1.0.0 with NumPy 2.4.6: `Pendulum-v1` put into the state (2.5, -0.75) and driven by
/// the torques -3, -0.7, 0.3, 1.1, 2.6 in turn. Step, reward, observation.
const GYMNASIUM: [(usize, f64, [f64; 3]); 6] = [
    (
        0,
        -6.310_250_000_189_99,
        [
            -0.782_796_025_276_184_1,
            0.622_278_392_314_911,
            -0.601_145_863_533_02,
        ],
    ),
    (
        1,
        -6.137_244_606_321_214_5,
        [
            -0.775_290_250_778_198_2,
            0.631_605_088_710_784_9,
            -0.239_437_088_370_323_18,
        ],
    ),
    (
        2,
        -6.047_443_717_410_286,
        [
            -0.784_033_715_724_945_1,
            0.620_718_240_737_915,
            0.279_266_744_852_066_04,
        ],
    ),
    (
        19,
        -5.800_234_111_250_979,
        [
            -0.750_216_782_093_048_1,
            -0.661_191_940_307_617_2,
            -0.233_382_999_897_003_17,
        ],
    ),
    (
        99,
        -6.860_288_658_920_73,
        [
            -0.812_427_461_147_308_3,
            0.583_062_291_145_324_7,
            -0.939_598_619_937_896_7,
        ],
    ),
    (
        199,
        -7.083_221_490_911_464,
        [
            -0.825_706_183_910_369_9,
            0.564_100_384_712_219_2,
            -1.122_501_492_500_305_2,
        ],
    ),
];

#[test]
fn the_pendulum_swings_as_in_gymnasium() {
    let mut pendulum = Pendulum::new().expect("constant bounds");
    pendulum.set_state(2.5, -0.75);
    let mut expected = GYMNASIUM.iter();
    let mut next = expected.next();
    for step in 0..200 {
        let torque = [-3.0, -0.7, 0.3, 1.1, 2.6][step % 5];
        let outcome = pendulum.step(&[torque]).expect("one value");
        assert!(!outcome.terminated);
        if let Some((at, reward, observation)) = next
            && *at == step
        {
            // The same double-precision formulas; the order of additions may differ.
            assert!(
                (outcome.reward - reward).abs() < 1e-11,
                "step {step}: {}",
                outcome.reward
            );
            for (got, recorded) in pendulum.observation().iter().zip(observation) {
                // Rounded to single precision on both sides.
                assert!(
                    (got - recorded).abs() < 1e-7,
                    "step {step}: {got} for {recorded}"
                );
            }
            next = expected.next();
        }
    }
    assert_eq!(next, None, "every recorded step was compared");
}

#[test]
fn pendulums_start_anywhere_within_their_bounds() {
    let mut pendulum = Pendulum::new().expect("constant bounds");
    let mut rng = seeded_rng(0);
    let (mut upright, mut fastest) = (0, 0.0f64);
    for _ in 0..1000 {
        pendulum.reset(&mut rng).expect("it can be reset");
        let [cos, _, velocity] = pendulum.observation() else {
            panic!("three values")
        };
        upright += usize::from(*cos > 0.0);
        fastest = fastest.max(velocity.abs());
    }
    // Half of a thousand, within five standard deviations (16 each).
    assert!(
        (420..=580).contains(&upright),
        "{upright} of 1000 in the upper half"
    );
    assert!((0.99..=1.0).contains(&fastest), "{fastest}");
}

/// Discounted return of an episode, with the first observation and whether it ended by itself.
fn play(env: &mut dyn Env, action: f64, gamma: f64) -> (f64, f64) {
    env.reset(None).expect("it can be reset");
    let first = env.observation()[0];
    let (mut total, mut discount) = (0.0, 1.0);
    loop {
        let step = env.step(&[action as f32]).expect("the episode runs");
        assert!(!step.truncated);
        total += discount * step.reward;
        discount *= gamma;
        if step.terminated {
            return (first, total);
        }
    }
}

#[test]
fn the_documented_values_of_the_probes_are_what_episodes_return() {
    let gamma = 0.9;
    for kind in ProbeKind::ALL {
        let mut env = TaskEnv::new(Probe::new(kind).expect("constant bounds"));
        let mut seen = Vec::new();
        for _ in 0..40 {
            // Actions that single precision holds exactly.
            for action in [-1.25, -0.5, 0.0, 0.5, 1.0] {
                let (first, total) = play(&mut env, action, gamma);
                let value = kind.value(first, action, gamma);
                assert!(
                    (value - total).abs() < 1e-12,
                    "{kind:?} at {first}, {action}: {total}"
                );
                if let Some(best) = kind.optimal_action(first) {
                    assert!(kind.value(first, best, gamma) >= value);
                    assert!((kind.value(first, best, gamma) - 1.0).abs() < 1e-12);
                }
                if !seen.contains(&first) {
                    seen.push(first);
                }
            }
        }
        seen.sort_by(f64::total_cmp);
        let starts = if kind == ProbeKind::Discounting {
            &[0.0]
        } else {
            kind.observations()
        };
        assert_eq!(seen, starts, "{kind:?}");
    }
}

#[test]
fn the_discounting_probe_shows_its_second_observation() {
    let mut env = TaskEnv::new(Probe::new(ProbeKind::Discounting).expect("constant bounds"));
    env.reset(None).expect("it can be reset");
    let step = env.step(&[0.0]).expect("the episode runs");
    assert!(step.reward.abs() < 1e-12 && !step.terminated);
    assert_eq!(env.observation(), [1.0]);
    let step = env.step(&[0.0]).expect("the episode runs");
    assert!((step.reward - 1.0).abs() < 1e-12 && step.terminated);
}
