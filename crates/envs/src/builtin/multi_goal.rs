//! `MultiGoal-v0`: a point in the plane with four equally good goals.

use rand_distr::{Distribution, Normal};

use crate::env::check_action_length;
use crate::{EnvError, EnvRng, EnvState, Outcome, Space, Task};

/// The goals: five units from the centre on each axis.
pub const GOALS: [[f64; 2]; 4] = [[5.0, 0.0], [0.0, 5.0], [-5.0, 0.0], [0.0, -5.0]];
/// Distance from a goal at which it counts as reached.
pub const GOAL_RADIUS: f64 = 1.0;
/// The point cannot leave the square of this half width.
pub const HALF_WIDTH: f64 = 7.0;
/// Reward for reaching a goal.
pub const GOAL_REWARD: f64 = 10.0;
/// Standard deviation of each start coordinate around the centre.
pub const START_STD: f64 = 0.1;

/// A point that moves by its action and may choose among four goals.
///
/// The task and its rewards are unchanged by a quarter turn and by a reflection in either axis,
/// so from the centre the optimal policy goes in four directions with equal right: a policy with
/// one mode has to break the symmetry, and one that averages stays where it is. The idea is that
/// of the multi-goal task in Haarnoja et al., "Reinforcement learning with deep energy-based
/// policies" (2017); the numbers are our own.
///
/// - Observation: position `[x, y]`, within ±7.
/// - Action: displacement `[dx, dy]`, each within ±1; the task clips it. The position is kept
///   within the square.
/// - Reward: `-0.1 d - 0.05 (dx^2 + dy^2)`, and 10 more when `d <= 1`, where `d` is the distance
///   from the new position to the nearest goal and `dx`, `dy` are clipped. It lies between -1.1
///   and 10.
/// - Terminates when `d <= 1`; 30 steps at most (four suffice from the centre).
/// - Start: normal around the centre with standard deviation 0.1.
#[derive(Debug, Clone)]
pub struct MultiGoal {
    observation_space: Space,
    action_space: Space,
    position: [f64; 2],
}

impl MultiGoal {
    /// A point at the centre.
    ///
    /// # Errors
    /// None in practice: the bounds are constants.
    pub fn new() -> Result<Self, EnvError> {
        Ok(Self {
            observation_space: Space::uniform(2, -HALF_WIDTH, HALF_WIDTH)?,
            action_space: Space::uniform(2, -1.0, 1.0)?,
            position: [0.0; 2],
        })
    }

    /// Puts the point at `position`, or at the nearest place within the square.
    pub fn set_state(&mut self, position: [f64; 2]) {
        self.position = position.map(|x| x.clamp(-HALF_WIDTH, HALF_WIDTH));
    }
}

/// Index in [`GOALS`] of the goal nearest to `position`, and the distance to it.
pub fn nearest_goal(position: [f64; 2]) -> (usize, f64) {
    let mut nearest = (0, f64::INFINITY);
    for (i, goal) in GOALS.iter().enumerate() {
        let distance = (position[0] - goal[0]).hypot(position[1] - goal[1]);
        if distance < nearest.1 {
            nearest = (i, distance);
        }
    }
    nearest
}

impl Task for MultiGoal {
    fn name(&self) -> &'static str {
        "MultiGoal-v0"
    }

    fn observation_space(&self) -> &Space {
        &self.observation_space
    }

    fn action_space(&self) -> &Space {
        &self.action_space
    }

    fn reset(&mut self, rng: &mut EnvRng) -> Result<(), EnvError> {
        let start = Normal::new(0.0, START_STD)
            .map_err(|e| EnvError::InvalidArgument(format!("start distribution: {e}")))?;
        self.set_state([start.sample(rng), start.sample(rng)]);
        Ok(())
    }

    fn step(&mut self, action: &[f32]) -> Result<Outcome, EnvError> {
        check_action_length(self.name(), action, 2)?;
        let dx = f64::from(action[0].clamp(-1.0, 1.0));
        let dy = f64::from(action[1].clamp(-1.0, 1.0));
        self.set_state([self.position[0] + dx, self.position[1] + dy]);
        let (_, distance) = nearest_goal(self.position);
        let terminated = distance <= GOAL_RADIUS;
        let bonus = if terminated { GOAL_REWARD } else { 0.0 };
        let reward = bonus - 0.1 * distance - 0.05 * (dx * dx + dy * dy);
        Ok(Outcome { reward, terminated })
    }

    fn observation(&self) -> &[f64] {
        &self.position
    }

    fn save(&self, state: &mut EnvState) -> Result<(), EnvError> {
        state.put_f64("position", &self.position);
        Ok(())
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.position.copy_from_slice(state.f64("position", 2)?);
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "symmetry of positions holds to the bit")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step_from(position: [f64; 2], action: [f32; 2]) -> (Outcome, [f64; 2]) {
        let mut task = MultiGoal::new().expect("constant bounds");
        task.set_state(position);
        let outcome = task.step(&action).expect("two values");
        (outcome, task.position)
    }

    proptest! {
        #[test]
        fn a_quarter_turn_or_a_reflection_changes_nothing(
            x in -7.0..7.0f64, y in -7.0..7.0f64, a in -1.5f32..1.5, b in -1.5f32..1.5,
        ) {
            let (outcome, [nx, ny]) = step_from([x, y], [a, b]);
            // `hypot` of swapped or negated arguments may differ in the last bit.
            let near = |other: Outcome| (other.reward - outcome.reward).abs() < 1e-12
                && other.terminated == outcome.terminated;
            let (turned, at) = step_from([-y, x], [-b, a]);
            prop_assert!(near(turned) && at == [-ny, nx]);
            let (mirrored, at) = step_from([-x, y], [-a, b]);
            prop_assert!(near(mirrored) && at == [-nx, ny]);
        }

        #[test]
        fn rewards_and_positions_keep_their_bounds(
            x in -9.0..9.0f64, y in -9.0..9.0f64, a in -3.0f32..3.0, b in -3.0f32..3.0,
        ) {
            let (outcome, at) = step_from([x, y], [a, b]);
            prop_assert!((-1.1..=10.0).contains(&outcome.reward), "reward {}", outcome.reward);
            prop_assert!(at.iter().all(|c| c.abs() <= HALF_WIDTH));
        }
    }

    #[test]
    fn four_straight_steps_from_the_centre_reach_any_goal() {
        for (goal, direction) in GOALS.iter().zip([[1., 0.], [0., 1.], [-1., 0.], [0., -1.]]) {
            let mut task = MultiGoal::new().expect("constant bounds");
            let mut reached = Vec::new();
            for _ in 0..4 {
                reached.push(task.step(&direction).expect("two values"));
            }
            assert_eq!(
                reached.iter().position(|o| o.terminated),
                Some(3),
                "{goal:?}"
            );
            // Distance 1 on arrival: 10 - 0.1 - 0.05.
            assert!((reached[3].reward - 9.85).abs() < 1e-12);
        }
    }
}
