//! The fused denoising chain and scoring, on tensors.

use burn::{
    backend::Flex,
    tensor::{Int, Tensor, TensorData},
};
use burn_flex::{FlexDevice, FlexTensor};

use super::{part, primitive};
use crate::{
    Activation, ChainNetwork, ChainNoise, Combine, Layer, Sampled, Stack, StepCoefficients,
    backend::residual::{NormView, ResidualView},
    categorical::Atoms,
    cpu::{
        InstructionSet,
        chain::{ChainView, NoiseView, denoise},
        network::LayerView,
        residual::{self, ResidualOf},
        score,
    },
};

/// The tensors of layers, their values in order.
struct Layers(Vec<Held>);

struct Held {
    weight: FlexTensor,
    bias: FlexTensor,
    dims: [usize; 2],
}

impl Held {
    fn view(&self, member: usize) -> LayerView<'_> {
        let [depth, columns] = self.dims;
        LayerView {
            weight: part(self.weight.storage(), member, depth * columns),
            bias: part(self.bias.storage(), member, columns),
            dims: self.dims,
        }
    }
}

impl Layers {
    fn new(layers: &[Layer<Flex>]) -> Self {
        let held = |layer: &Layer<Flex>| {
            let [_, depth, columns] = layer.weight.dims();
            Held {
                weight: primitive(&layer.weight),
                bias: primitive(&layer.bias),
                dims: [depth, columns],
            }
        };
        Self(layers.iter().map(held).collect())
    }

    fn views(&self, member: usize) -> Vec<LayerView<'_>> {
        self.0.iter().map(|layer| layer.view(member)).collect()
    }
}

/// Whether the kernels can take these critics: they have Mish in the epilogue, their first layer
/// cannot be their output, and they give one value.
pub(super) fn can_score(critics: &Stack<Flex>) -> bool {
    critics.activation == Activation::Mish && critics.layers.len() > 1 && critics.output_dim() == 1
}

/// [`crate::RescoreBackend::denoise_chain`] by the fused kernel, its values in order.
pub(super) fn denoise_fused(
    network: &ChainNetwork<Flex>,
    observations: &Tensor<Flex, 2>,
    particles: usize,
    steps: &[StepCoefficients],
    noise: &ChainNoise<Flex>,
) -> Vec<f32> {
    let [states, _] = observations.dims();
    let observations = primitive(observations);
    let first = [&network.observation_weight, &network.action_weight].map(primitive);
    let step_bias = primitive(&network.step_bias);
    let rest = Layers::new(&network.rest);
    // The kernel reads slices; explicit noise must live as long as they do.
    let given = match noise {
        ChainNoise::Given { start, steps } => Some((primitive(start), primitive(steps))),
        ChainNoise::Counter { .. } | ChainNoise::CounterPerState { .. } => None,
    };
    let view = ChainView {
        observations: observations.storage(),
        states,
        particles,
        observation_weight: LayerView {
            weight: first[0].storage(),
            bias: &[],
            dims: network.observation_weight.dims(),
        },
        action_weight: LayerView {
            weight: first[1].storage(),
            bias: step_bias.storage(),
            dims: network.action_weight.dims(),
        },
        rest: rest.views(0),
        steps,
        noise: noise_view(noise, given.as_ref()),
        precision: network.precision,
    };
    denoise(&view, InstructionSet::detect())
}

/// `noise` as the kernel takes it; `given` are the tensors of explicit noise.
fn noise_view<'a>(
    noise: &'a ChainNoise<Flex>,
    given: Option<&'a (FlexTensor, FlexTensor)>,
) -> NoiseView<'a> {
    match noise {
        ChainNoise::Counter {
            key,
            counter,
            start_scale,
        } => NoiseView::Counter {
            key: *key,
            counter: *counter,
            start_scale: *start_scale,
        },
        ChainNoise::CounterPerState {
            key,
            counters,
            start_scale,
        } => NoiseView::CounterPerState {
            key: *key,
            counters,
            start_scale: *start_scale,
        },
        ChainNoise::Given { .. } => {
            let (start, steps) = given.map_or((&[][..], &[][..]), |(start, steps)| {
                (start.storage(), steps.storage())
            });
            NoiseView::Given { start, steps }
        }
    }
}

/// [`crate::RescoreBackend::score`] by the fused kernel, its values in order, for `actions` of the
/// shape `dims`, `[states, particles, action_dim]`.
pub(super) fn score_fused(
    critics: &Stack<Flex>,
    combine: Combine,
    observations: &Tensor<Flex, 2>,
    actions: &[f32],
    dims: [usize; 3],
) -> Vec<f32> {
    let layers = Layers::new(&critics.layers);
    let views: Vec<_> = (0..critics.members())
        .map(|member| layers.views(member))
        .collect();
    let observations = primitive(observations);
    score::score(
        InstructionSet::detect(),
        &views,
        combine,
        observations.storage(),
        actions,
        dims,
    )
}

/// [`crate::RescoreBackend::score_residual`] by the fused kernel, for rows `[rows, width]`.
pub(super) fn score_residual_fused(
    critics: &ResidualView<Flex>,
    atoms: Option<Atoms>,
    combine: Combine,
    rows: &Tensor<Flex, 2>,
) -> Vec<f32> {
    let norm = |norm: &NormView<Flex>| [&norm.scale, &norm.shift].map(primitive);
    let ends = Layers::new(&[critics.input.clone(), critics.head.clone()]);
    let blocks = critics.blocks.iter();
    let blocks: Vec<_> = blocks
        .map(|block| {
            let layers = Layers::new(&[block.up.clone(), block.down.clone()]);
            (norm(&block.norm), layers)
        })
        .collect();
    let last = norm(&critics.norm);
    let [_, _, width] = critics.input.weight.dims();
    let members = (0..critics.members()).map(|member| ResidualOf {
        input: ends.0[0].view(member),
        blocks: blocks
            .iter()
            .map(|(norm, layers)| {
                let norm = norm.each_ref().map(|of| part(of.storage(), member, width));
                (norm, [layers.0[0].view(member), layers.0[1].view(member)])
            })
            .collect(),
        norm: last.each_ref().map(|of| part(of.storage(), member, width)),
        head: ends.0[1].view(member),
        epsilon: critics.epsilon as f32,
    });
    let members: Vec<_> = members.collect();
    let [_, depth] = rows.dims();
    let rows = primitive(rows);
    let set = InstructionSet::detect();
    residual::score(set, &members, atoms, combine, rows.storage(), depth)
}

/// The best particle of every state, by the rules of [`crate::RescoreBackend::denoise_best`].
pub(super) fn best_of(
    actions: &[f32],
    scores: Vec<f32>,
    [states, particles, action_dim]: [usize; 3],
) -> Sampled<Flex> {
    let indices: Vec<usize> = scores.chunks(particles).map(argmax_lowest).collect();
    let mut best = Vec::with_capacity(states * action_dim);
    for (state, index) in indices.iter().enumerate() {
        let row = state * particles + index;
        let action = &actions[row * action_dim..][..action_dim];
        best.extend(action.iter().map(|a| a.clamp(-1.0, 1.0)));
    }
    let indices: Vec<i64> = indices.into_iter().map(|index| index as i64).collect();
    Sampled {
        actions: tensor(best, [states, action_dim]),
        indices: Tensor::<Flex, 1, Int>::from_data(TensorData::new(indices, [states]), &FlexDevice),
        scores: tensor(scores, [states, particles]),
    }
}

/// Index of the largest score, of equal ones the lowest; the last index where one is NaN.
fn argmax_lowest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (index, score) in scores.iter().enumerate() {
        if score.is_nan() {
            return scores.len() - 1;
        }
        if *score > scores[best] {
            best = index;
        }
    }
    best
}

pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<Flex, D> {
    Tensor::from_data(TensorData::new(values, shape), &FlexDevice)
}
