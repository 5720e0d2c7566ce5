//! An algorithm of your own, trained by its name: Q-learning that acts with the best random action.

use rescore::agents::prelude::*;

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct RandomSearch {
    critic: CriticSettings,
}

impl Settings for RandomSearch {
    fn outline(&self) -> Outline {
        Outline::of(0.99)
    }
    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Searcher {
            critics: CriticLearner::new(&self.critic, [0.99, 0.2], setup),
            action_dim: setup.dims[1],
            streams: Streams::new(setup.seed),
            updates: 0,
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
        let (rows, dim) = (states.dims()[0], self.action_dim);
        let draws = Draws::acting(self.streams, counter, &states.device());
        let actions = draws.normals("candidates", [64 * rows, dim]).tanh();
        self.critics.best(states, actions.reshape([rows, 64, dim]))
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
    println!("{}", std::fs::read_to_string(folder.join("eval.csv"))?);
    Ok(())
}
