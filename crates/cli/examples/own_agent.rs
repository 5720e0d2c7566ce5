//! An algorithm of your own, composed of learners: DDPG (Lillicrap et al. 2016). It is trained,
//! resumed, evaluated and exported by its name, as the built-in ones are.

use rescore::agents::{Outline, prelude::*};

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Ddpg {
    critic: CriticSettings,
    actor: ActorSettings,
}

impl Settings for Ddpg {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        check.table("critic", |check| self.critic.check(check))
    }
    fn outline(&self) -> Outline {
        Outline::of(0.99)
    }
    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        let critics = CriticLearner::new(&self.critic, [0.99, 0.2], setup);
        let actor = DeterministicActor::new(&self.actor, setup);
        let (streams, updates) = (Streams::new(setup.seed), 0);
        Box::new(DdpgAgent {
            critics,
            actor,
            streams,
            updates,
        })
    }
}

struct DdpgAgent<B: RescoreBackend> {
    critics: CriticLearner<B>,
    actor: DeterministicActor<B>,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Agent<B> for DdpgAgent<B> {
    parts!(critics, actor, updates => Deterministic(actor));
    fn act(&self, observations: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let draws = Draws::acting(self.streams, counter, &observations.device());
        let actions = self.act_deterministic(observations);
        let noise = draws.normals("exploration", actions.dims());
        (actions + noise.mul_scalar(0.1)).clamp(-1.0, 1.0)
    }
    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        DeterministicActor::actions(&self.actor.policy, observations)
    }
    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let mut metrics = Metrics::default();
        let next = DeterministicActor::actions(&self.actor.target, batch.next_observations.clone());
        let target = self.critics.targets(batch, next.clone());
        metrics.push_members("q{}_loss", self.critics.learn(batch, next, &target));
        metrics.push("policy_loss", self.actor.ascend(&self.critics, batch));
        self.critics.track(0.02);
        self.actor.track(0.02);
        self.updates += 1;
        metrics
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    rescore::register_algorithm::<Ddpg>("ddpg", "Deep deterministic policy gradient")?;
    let folder = rescore::run("ddpg", "Pendulum-v1", &["steps=2000"])?;
    println!("{}", std::fs::read_to_string(folder.join("eval.csv"))?);
    Ok(())
}
