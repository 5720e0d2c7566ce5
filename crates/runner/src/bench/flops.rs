//! Naive counts of floating-point operations: a multiplication and an addition for every weight,
//! every time a formula evaluates the network on a row. Activations are not counted.

use rescore_agents::AgentConfig;

use crate::config::Config;

/// Width of the denoiser's time features.
const TIME_DIM: usize = 16;

/// Operations of one row through layers of the widths `input -> hidden ... -> output`.
fn row(input: usize, hidden: &[usize], output: usize) -> f64 {
    let mut widths = vec![input];
    widths.extend(hidden);
    widths.push(output);
    widths
        .windows(2)
        .map(|pair| 2.0 * (pair[0] * pair[1]) as f64)
        .sum()
}

/// Sizes that the counts follow from.
#[derive(Debug, Clone)]
pub struct Counts {
    hidden: Vec<usize>,
    observation_dim: usize,
    action_dim: usize,
}

impl Counts {
    pub fn new(config: &Config, [observation_dim, action_dim]: [usize; 2]) -> Self {
        let hidden = match &config.agent {
            AgentConfig::Dpmd(agent) => &agent.base.hidden_dims,
            AgentConfig::Sdac(agent) => &agent.base.hidden_dims,
            AgentConfig::Sac(agent) => &agent.base.hidden_dims,
        };
        Self {
            hidden: hidden.clone(),
            observation_dim,
            action_dim,
        }
    }

    /// Widths of the hidden layers.
    pub fn hidden(&self) -> &[usize] {
        &self.hidden
    }

    /// The denoiser on a row.
    fn denoiser(&self) -> f64 {
        let input = self.observation_dim + self.action_dim + TIME_DIM;
        row(input, &self.hidden, self.action_dim)
    }

    /// Both critics on a row.
    fn critics(&self) -> f64 {
        2.0 * row(self.observation_dim + self.action_dim, &self.hidden, 1)
    }

    /// The chain on `rows` rows.
    pub fn chain(&self, rows: usize, steps: usize) -> f64 {
        (rows * steps) as f64 * self.denoiser()
    }

    /// Both critics forward and backward on `rows` rows; the derivative by the weights and that by
    /// the input cost as much as the way forward.
    pub fn critic_step(&self, rows: usize) -> f64 {
        3.0 * rows as f64 * self.critics()
    }

    /// The actions of `states` observations, scoring included.
    pub fn act(&self, states: usize, particles: usize, steps: usize) -> f64 {
        let rows = states * particles;
        self.chain(rows, steps) + rows as f64 * self.critics()
    }
}
