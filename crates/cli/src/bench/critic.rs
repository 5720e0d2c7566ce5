//! The critics' step: forward, backward and Adam on both.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use rescore_critics::{Critics, Head};
use rescore_kernels::{
    Activation, NoiseKey, Precision, RescoreBackend, adam::AdamStep, plain, total,
};
use rescore_nn::{Adam, AdamSettings, Initializer, Shape, Tree as _, leaves, value_and_grad};
use rescore_objectives::td;
use rescore_runner::RunError;
use rescore_runner::config::Config;

use super::{Times, dims, flops::Counts, random, repeat, variant_of};

const LEARNING_RATE: f64 = 3e-4;

/// In plain tensor code, and as the agents do it.
pub fn measure<B: RescoreBackend>(
    config: &Config,
    device: &B::Device,
) -> Result<Vec<Times>, RunError> {
    let dims = dims(config)?;
    let rows = config.training.batch_size;
    let counts = Counts::new(config, dims)?;
    let sizes = config.agent.settings.outline().sizes;
    let sizes = sizes.expect("operations are counted for built-in algorithms, which have sizes");
    let shape = Shape::Mlp {
        hidden_dims: sizes.critic_widths,
        activation: Activation::Mish,
        initializer: Initializer::TruncatedNormal,
    };
    let key = NoiseKey::new(config.seed, "bench/critics");
    let mut critics = Critics::<B>::init(dims, 2, &shape, Head::Scalar, key, device);
    let observations = random::<B>([rows, dims[0]], 1, device);
    let actions = random::<B>([rows, dims[1]], 2, device);
    let targets = random::<B>([rows, 1], 3, device).reshape([rows]);
    let times = |variant, ms| Times {
        variant,
        precision: Precision::F32,
        ms,
        rows,
        flops: Some(counts.critic_step(rows)),
        parts: Vec::new(),
        device: None,
    };

    let mut adam = Adam::new(&critics, AdamSettings::default());
    let ms = repeat(|| {
        let (_, gradient, ()) = value_and_grad(&critics, |critics| {
            let input = Tensor::cat(vec![observations.clone(), actions.clone()], 1);
            let input = Tensor::<Autodiff<B>, 2>::from_inner(input).unsqueeze_dim(0);
            let targets = Tensor::from_inner(targets.clone()).unsqueeze_dim::<2>(0);
            let stack = critics.network.stack().expect("a network of linear layers");
            let error = plain::stack(&stack, input).squeeze_dim::<2>(2) - targets;
            let rows = (error.clone() * error).mean_dim(1);
            (total(rows), ())
        });
        plain_step(&mut critics, &gradient, &mut adam);
        std::hint::black_box(leaves(&critics)[0].2.to_data());
    });
    let mut all = vec![times("plain", ms)];
    if variant_of(config) == "plain" {
        return Ok(all);
    }
    let mut adam = Adam::new(&critics, AdamSettings::default());
    let ms = repeat(|| {
        let (_, gradient, ()) = value_and_grad(&critics, |critics| {
            let lift = Tensor::from_inner;
            let (observations, actions) = (lift(observations.clone()), lift(actions.clone()));
            let outputs = critics.outputs(observations, actions);
            let target = td::Target::Values(targets.clone());
            (td::loss(outputs, target).0, ())
        });
        adam.step(&mut critics, &gradient, LEARNING_RATE);
        std::hint::black_box(leaves(&critics)[0].2.to_data());
    });
    all.push(times("fused-f32", ms));
    Ok(all)
}

/// One Adam step in plain tensor code.
fn plain_step<B: RescoreBackend>(
    critics: &mut Critics<B>,
    gradient: &Critics<B>,
    adam: &mut Adam<Critics<B>>,
) {
    adam.count += 1;
    let step = AdamStep::new(LEARNING_RATE, [0.9, 0.999], 1e-8, adam.count);
    let gradients = leaves(gradient).into_iter();
    let moments = leaves(&adam.mu).into_iter().zip(leaves(&adam.nu));
    let mut others = gradients.zip(moments);
    let (mut mus, mut nus) = (Vec::new(), Vec::new());
    *critics = critics.map("", &mut |_, parameter: &Tensor<B, 3>| {
        let ((_, _, gradient), ((_, _, mu), (_, _, nu))) =
            others.next().expect("trees of one shape");
        let (stepped, [mu, nu]) = plain::adam_step(parameter.clone(), gradient, [mu, nu], step);
        mus.push(mu);
        nus.push(nu);
        stepped
    });
    for (tree, moments) in [(&mut adam.mu, mus), (&mut adam.nu, nus)] {
        let mut moments = moments.into_iter();
        *tree = tree.map("", &mut |_, _: &Tensor<B, 3>| {
            moments.next().expect("trees of one shape")
        });
    }
}
