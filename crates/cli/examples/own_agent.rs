//! An algorithm of your own, composed of learners: Q-learning that acts with the best of some random
//! actions. It is trained, resumed and evaluated by its name, as the built-in ones are.

use rescore::agents::{Outline, prelude::*};
use rescore_kernels::unflatten_particles;

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct RandomSearch {
    /// The critics.
    critic: CriticSettings,
}

impl Settings for RandomSearch {
    fn outline(&self) -> Outline {
        Outline::of(0.99)
    }
    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        let critics = CriticLearner::new(&self.critic, [0.99, 0.2], setup);
        let (streams, updates) = (Streams::new(setup.seed), 0);
        Box::new(Searcher {
            critics,
            action_dim: setup.dims[1],
            streams,
            updates,
        })
    }
}

struct Searcher<B: RescoreBackend> {
    critics: CriticLearner<B>,
    action_dim: usize,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Agent<B> for Searcher<B> {
    parts!(critics, updates);
    fn act(&self, states: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let draws = Draws::acting(self.streams, counter, &states.device());
        let actions = draws.normals("candidates", [64 * states.dims()[0], self.action_dim]);
        let actions = unflatten_particles(actions.tanh(), states.dims()[0]);
        self.critics.best(states, actions)
    }
    fn act_deterministic(&self, states: Tensor<B, 2>) -> Tensor<B, 2> {
        self.act(states, 0)
    }
    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let mut metrics = Metrics::default();
        let next = self.act(batch.next_observations.clone(), self.updates as u32);
        let target = self.critics.targets(batch, next.clone());
        metrics.push_members("q{}_loss", self.critics.learn(batch, next, &target));
        self.critics.track(0.02);
        self.updates += 1;
        metrics
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    rescore::register_algorithm::<RandomSearch>("random-search", "Q-learning without an actor")?;
    let folder = rescore::run("random-search", "Pendulum-v1", &["steps=2000"])?;
    Ok(print!(
        "{}",
        std::fs::read_to_string(folder.join("eval.csv"))?
    ))
}
