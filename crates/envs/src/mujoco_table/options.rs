//! The options of each task and their defaults, those of Gymnasium's constructors.

use crate::TaskOption;
use crate::options::OptionDefault;

const fn flag(name: &'static str, default: bool) -> TaskOption {
    TaskOption::new(name, OptionDefault::Flag(default))
}

const fn number(name: &'static str, default: f64) -> TaskOption {
    TaskOption::new(name, OptionDefault::Number(default))
}

const fn range(name: &'static str, low: f64, high: f64) -> TaskOption {
    TaskOption::new(name, OptionDefault::Range([low, high]))
}

/// The model file: one of the task models, or a path that has a separator.
const fn model(file: &'static str) -> TaskOption {
    TaskOption::new("xml_file", OptionDefault::Text(file))
}

/// Simulator steps per environment step.
const fn frame_skip(steps: i64) -> TaskOption {
    TaskOption::new("frame_skip", OptionDefault::Integer(steps))
}

const EXCLUDE_POSITIONS: TaskOption = flag("exclude_current_positions_from_observation", true);
const FORWARD: TaskOption = number("forward_reward_weight", 1.0);
const TERMINATE: TaskOption = flag("terminate_when_unhealthy", true);

pub(super) const HALF_CHEETAH_V4: &[TaskOption] = &[
    model("half_cheetah.xml").fixed(),
    frame_skip(5).fixed(),
    FORWARD,
    number("ctrl_cost_weight", 0.1),
    number("reset_noise_scale", 0.1),
    EXCLUDE_POSITIONS,
];
pub(super) const HALF_CHEETAH_V5: &[TaskOption] = &[
    model("half_cheetah.xml"),
    frame_skip(5),
    FORWARD,
    number("ctrl_cost_weight", 0.1),
    number("reset_noise_scale", 0.1),
    EXCLUDE_POSITIONS,
];

pub(super) const HOPPER_V4: &[TaskOption] = &[
    model("hopper.xml").fixed(),
    frame_skip(4).fixed(),
    FORWARD,
    number("ctrl_cost_weight", 1e-3),
    number("healthy_reward", 1.0),
    TERMINATE,
    range("healthy_state_range", -100.0, 100.0),
    range("healthy_z_range", 0.7, f64::INFINITY),
    range("healthy_angle_range", -0.2, 0.2),
    number("reset_noise_scale", 5e-3),
    EXCLUDE_POSITIONS,
];
pub(super) const HOPPER_V5: &[TaskOption] = &[
    model("hopper.xml"),
    frame_skip(4),
    FORWARD,
    number("ctrl_cost_weight", 1e-3),
    number("healthy_reward", 1.0),
    TERMINATE,
    range("healthy_state_range", -100.0, 100.0),
    range("healthy_z_range", 0.7, f64::INFINITY),
    range("healthy_angle_range", -0.2, 0.2),
    number("reset_noise_scale", 5e-3),
    EXCLUDE_POSITIONS,
];

pub(super) const WALKER2D_V4: &[TaskOption] = &[
    model("walker2d.xml").fixed(),
    frame_skip(4).fixed(),
    FORWARD,
    number("ctrl_cost_weight", 1e-3),
    number("healthy_reward", 1.0),
    TERMINATE,
    range("healthy_z_range", 0.8, 2.0),
    range("healthy_angle_range", -1.0, 1.0),
    number("reset_noise_scale", 5e-3),
    EXCLUDE_POSITIONS,
];
pub(super) const WALKER2D_V5: &[TaskOption] = &[
    model("walker2d_v5.xml"),
    frame_skip(4),
    FORWARD,
    number("ctrl_cost_weight", 1e-3),
    number("healthy_reward", 1.0),
    TERMINATE,
    range("healthy_z_range", 0.8, 2.0),
    range("healthy_angle_range", -1.0, 1.0),
    number("reset_noise_scale", 5e-3),
    EXCLUDE_POSITIONS,
];

pub(super) const ANT_V4: &[TaskOption] = &[
    model("ant.xml").fixed(),
    frame_skip(5).fixed(),
    FORWARD.fixed(),
    number("ctrl_cost_weight", 0.5),
    flag("use_contact_forces", false),
    number("contact_cost_weight", 5e-4),
    number("healthy_reward", 1.0),
    TaskOption::new("main_body", OptionDefault::Text("torso")).fixed(),
    TERMINATE,
    range("healthy_z_range", 0.2, 1.0),
    range("contact_force_range", -1.0, 1.0),
    number("reset_noise_scale", 0.1),
    EXCLUDE_POSITIONS,
];
pub(super) const ANT_V5: &[TaskOption] = &[
    model("ant.xml"),
    frame_skip(5),
    FORWARD,
    number("ctrl_cost_weight", 0.5),
    number("contact_cost_weight", 5e-4),
    number("healthy_reward", 1.0),
    // Gymnasium's default is the body's number, 1; this is its name in the model.
    TaskOption::new("main_body", OptionDefault::Text("torso")),
    TERMINATE,
    range("healthy_z_range", 0.2, 1.0),
    range("contact_force_range", -1.0, 1.0),
    number("reset_noise_scale", 0.1),
    EXCLUDE_POSITIONS,
    flag("include_cfrc_ext_in_observation", true),
];

pub(super) const HUMANOID_V4: &[TaskOption] = &[
    model("humanoid.xml").fixed(),
    frame_skip(5).fixed(),
    number("forward_reward_weight", 1.25),
    number("ctrl_cost_weight", 0.1),
    number("healthy_reward", 5.0),
    TERMINATE,
    range("healthy_z_range", 1.0, 2.0),
    number("reset_noise_scale", 1e-2),
    EXCLUDE_POSITIONS,
];
pub(super) const HUMANOID_V5: &[TaskOption] = &[
    model("humanoid.xml"),
    frame_skip(5),
    number("forward_reward_weight", 1.25),
    number("ctrl_cost_weight", 0.1),
    number("contact_cost_weight", 5e-7),
    range("contact_cost_range", f64::NEG_INFINITY, 10.0),
    number("healthy_reward", 5.0),
    TERMINATE,
    range("healthy_z_range", 1.0, 2.0),
    number("reset_noise_scale", 1e-2),
    EXCLUDE_POSITIONS,
    flag("include_cinert_in_observation", true),
    flag("include_cvel_in_observation", true),
    flag("include_qfrc_actuator_in_observation", true),
    flag("include_cfrc_ext_in_observation", true),
];

pub(super) const STANDUP_V4: &[TaskOption] = &[
    model("humanoidstandup.xml").fixed(),
    frame_skip(5).fixed(),
    number("ctrl_cost_weight", 0.1).fixed(),
    number("impact_cost_weight", 5e-7).fixed(),
    range("impact_cost_range", f64::NEG_INFINITY, 10.0).fixed(),
    number("reset_noise_scale", 1e-2).fixed(),
    EXCLUDE_POSITIONS.fixed(),
];
// Gymnasium's constructor takes `uph_cost_weight` as well and does nothing with it.
pub(super) const STANDUP_V5: &[TaskOption] = &[
    model("humanoidstandup.xml"),
    frame_skip(5),
    number("ctrl_cost_weight", 0.1),
    number("impact_cost_weight", 5e-7),
    range("impact_cost_range", f64::NEG_INFINITY, 10.0),
    number("reset_noise_scale", 1e-2),
    EXCLUDE_POSITIONS,
    flag("include_cinert_in_observation", true),
    flag("include_cvel_in_observation", true),
    flag("include_qfrc_actuator_in_observation", true),
    flag("include_cfrc_ext_in_observation", true),
];

pub(super) const SWIMMER_V4: &[TaskOption] = &[
    model("swimmer.xml").fixed(),
    frame_skip(4).fixed(),
    FORWARD,
    number("ctrl_cost_weight", 1e-4),
    number("reset_noise_scale", 0.1),
    EXCLUDE_POSITIONS,
];
pub(super) const SWIMMER_V5: &[TaskOption] = &[
    model("swimmer.xml"),
    frame_skip(4),
    FORWARD,
    number("ctrl_cost_weight", 1e-4),
    number("reset_noise_scale", 0.1),
    EXCLUDE_POSITIONS,
];

pub(super) const REACHER_V4: &[TaskOption] = &[
    model("reacher.xml").fixed(),
    frame_skip(2).fixed(),
    number("reward_dist_weight", 1.0).fixed(),
    number("reward_control_weight", 1.0).fixed(),
];
pub(super) const REACHER_V5: &[TaskOption] = &[
    model("reacher.xml"),
    frame_skip(2),
    number("reward_dist_weight", 1.0),
    number("reward_control_weight", 1.0),
];

pub(super) const PUSHER_V4: &[TaskOption] = &[
    model("pusher.xml").fixed(),
    frame_skip(5).fixed(),
    number("reward_near_weight", 0.5).fixed(),
    number("reward_dist_weight", 1.0).fixed(),
    number("reward_control_weight", 0.1).fixed(),
    // Ours: makes the object movable again on MuJoCo 3 and later (see families/pusher.rs).
    flag("repair_object", false),
];
pub(super) const PUSHER_V5: &[TaskOption] = &[
    model("pusher_v5.xml"),
    frame_skip(5),
    number("reward_near_weight", 0.5),
    number("reward_dist_weight", 1.0),
    number("reward_control_weight", 0.1),
];

pub(super) const PENDULUM_V4: &[TaskOption] = &[
    model("inverted_pendulum.xml").fixed(),
    frame_skip(2).fixed(),
    number("reset_noise_scale", 0.01).fixed(),
];
pub(super) const PENDULUM_V5: &[TaskOption] = &[
    model("inverted_pendulum.xml"),
    frame_skip(2),
    number("reset_noise_scale", 0.01),
];

pub(super) const DOUBLE_V4: &[TaskOption] = &[
    model("inverted_double_pendulum.xml").fixed(),
    frame_skip(5).fixed(),
    number("healthy_reward", 10.0).fixed(),
    number("reset_noise_scale", 0.1).fixed(),
];
pub(super) const DOUBLE_V5: &[TaskOption] = &[
    model("inverted_double_pendulum.xml"),
    frame_skip(5),
    number("healthy_reward", 10.0),
    number("reset_noise_scale", 0.1),
];
