//! The metrics that tell a run that learns from one that does not, in words.

/// A metric with what it is and the pattern that means trouble.
#[derive(Debug, Clone, Copy)]
pub struct Diagnosis {
    /// Name in `metrics.jsonl`.
    pub metric: &'static str,
    /// Title of its figure.
    pub title: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// What trouble looks like.
    pub trouble: &'static str,
}

/// All that are drawn where runs have them, in this order.
pub const DIAGNOSES: &[Diagnosis] = &[
    Diagnosis {
        metric: "episode_return",
        title: "Return of training episodes",
        meaning: "The mean return of the last twenty episodes of training, exploration included.",
        trouble: "Far below the evaluation: exploration costs more than it finds. Above it: the \
                  policy that evaluation plays is not the one that learns.",
    },
    Diagnosis {
        metric: "value_age",
        title: "Age of the values",
        meaning: "The mean target over the value of earning the mean reward forever: 0 at the start, \
                  1 where values have arrived, above 1 while the policy is better than the replay.",
        trouble: "Still far below 1 at half of the run: targets are too slow for its length.",
    },
    Diagnosis {
        metric: "critic_excess",
        title: "Cross entropy above its floor",
        meaning: "The critics' cross entropy less the entropy of the targets, which no critic can go \
                  below.",
        trouble: "Growth: the critics do not keep up with their targets.",
    },
    Diagnosis {
        metric: "support_edge",
        title: "Share at the ends of the support",
        meaning: "The probability of the targets at the first and the last atom of categorical critics.",
        trouble: "Growth towards 1: returns leave the support and are cut off there.",
    },
    Diagnosis {
        metric: "q_std_within",
        title: "Q over the particles of a state",
        meaning: "The standard deviation of Q over the sampled actions of a state: what the policy \
                  learns from.",
        trouble: "At the level of rounding: all actions look alike and nothing is learned from them.",
    },
    Diagnosis {
        metric: "q_std_between",
        title: "Q between states",
        meaning: "The standard deviation between states of the mean Q of their sampled actions.",
        trouble: "A collapse towards 0: the critics have forgotten which states are good.",
    },
    Diagnosis {
        metric: "particle_spread",
        title: "Spread of the particles",
        meaning: "The standard deviation over the sampled actions of a state, mean over its \
                  dimensions.",
        trouble: "No more than the noise that is added: the policy has become deterministic. Near \
                  0.58, that of the uniform distribution: it has not learned.",
    },
    Diagnosis {
        metric: "weight_kl",
        title: "Divergence of the weights",
        meaning: "The divergence of the weights over a state's particles from equal ones.",
        trouble: "Near 0: no improvement. Near the logarithm of their number: one particle takes all.",
    },
    Diagnosis {
        metric: "weight_effective",
        title: "Effective number of particles",
        meaning: "One over the sum of the squared weights of a state's particles.",
        trouble: "Near 1 single samples are imitated; near their number nothing is preferred.",
    },
    Diagnosis {
        metric: "temperature",
        title: "Temperature",
        meaning: "What divides Q in the weights, or scales the entropy of SAC.",
        trouble: "At an end of its range: the rule that sets it cannot reach its target.",
    },
    Diagnosis {
        metric: "action_saturation",
        title: "Share of actions at the bounds",
        meaning: "The share of the components of next actions beyond 0.99 in size.",
        trouble: "Growth towards 1 where the task does not ask for it: the policy exploits errors of \
                  the critics at the walls.",
    },
    Diagnosis {
        metric: "critic_gradient_norm",
        title: "Gradient of the critics",
        meaning: "The Euclidean norm of the latest gradient over all parameters of the critics.",
        trouble: "Growth by orders of magnitude: divergence.",
    },
    Diagnosis {
        metric: "policy_gradient_norm",
        title: "Gradient of the policy",
        meaning: "The Euclidean norm of the latest gradient over all parameters of the policy.",
        trouble: "Growth by orders of magnitude: divergence. 0: it does not learn.",
    },
    Diagnosis {
        metric: "critic_weight_norm",
        title: "Weights of the critics",
        meaning: "The Euclidean norm of all parameters of the critics.",
        trouble: "Steady growth to the end: the critics lose the ability to learn.",
    },
    Diagnosis {
        metric: "target_noise_square",
        title: "Mean square of the noise to predict",
        meaning: "Of denoisers that regress on gradients of the critics; about 1 where it is noise \
                  that was added.",
        trouble: "Far above 1: a few rows dominate the policy's loss.",
    },
];
