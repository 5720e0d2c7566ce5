//! An algorithm of your own, composed of learners: DDPG (Lillicrap et al. 2016) in fifty lines. It is
//! trained by its name, resumed, evaluated and exported as the built-in ones are.
//!
//! `cargo run --release --example own_agent`

use rescore::agents::{Outline, prelude::*};
use rescore_nn::freeze;

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct DdpgSettings {
    critic: CriticSettings,
    actor: ActorSettings,
    target: TargetSettings,
}

impl Settings for DdpgSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        check.table("critic", |check| self.critic.check(check))
    }
    fn outline(&self) -> Outline {
        Outline {
            gamma: 0.99,
            sizes: None,
        }
    }
    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        let critics = CriticLearner::new(&self.critic, [0.99, 0.2], setup);
        let (actor, streams) = (
            DeterministicActor::new(&self.actor, setup),
            Streams::new(setup.seed),
        );
        Box::new(Ddpg {
            critics,
            actor,
            tau: self.target.tau,
            streams,
            updates: 0,
        })
    }
}

struct Ddpg<B: RescoreBackend> {
    critics: CriticLearner<B>,
    actor: DeterministicActor<B>,
    tau: f64,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Agent<B> for Ddpg<B> {
    parts!(critics, actor, updates => Deterministic(actor));
    fn act(&self, observations: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let draws = Draws::acting(self.streams, counter, &observations.device());
        let actions = self.act_deterministic(observations);
        let noise = draws.normals("exploration", actions.dims()).mul_scalar(0.1);
        (actions + noise).clamp(-1.0, 1.0)
    }
    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        DeterministicActor::actions(&self.actor.policy, observations)
    }
    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let next = DeterministicActor::actions(&self.actor.target, batch.next_observations.clone());
        let target = self.critics.targets(batch, next.clone());
        let mut metrics = Metrics::default();
        metrics.push_members("q{}_loss", self.critics.learn(batch, next, &target));
        let (frozen, states) = (
            freeze(&self.critics.online),
            Tensor::from_inner(batch.observations.clone()),
        );
        let loss = self.actor.learn(|policy| {
            let actions = DeterministicActor::actions(policy, states.clone());
            frozen
                .combined(rescore_kernels::Combine::Mean, states, actions)
                .mean()
                .neg()
        });
        metrics.push("policy_loss", loss);
        self.critics.track(self.tau);
        self.actor.track(self.tau);
        self.updates += 1;
        metrics
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    rescore::register_algorithm::<DdpgSettings>("ddpg", "Deep deterministic policy gradient")?;
    let folder = rescore::run("ddpg", "Pendulum-v1", &["steps=2000", "target.tau=0.02"])?;
    println!("{}", folder.display());
    Ok(())
}
