//! The random numbers of an agent.

use std::collections::BTreeMap;

use burn::tensor::{Int, Tensor, backend::Backend};
use rescore_diffusion::Sampler;
use rescore_kernels::{ChainNoise, Noise, NoiseKey, RescoreBackend};

/// The named random streams of a run: every random number is a function of the run's seed, the name
/// of a stream and a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams of the run with this seed.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The key of the stream `name`.
    pub fn key(self, name: &str) -> NoiseKey {
        NoiseKey::new(self.seed, name)
    }
}

/// The random numbers of one update, or of acting once, by name: drawn from the streams when they
/// are asked for, or given by a test.
#[derive(Debug, Clone)]
pub struct Draws<B: Backend> {
    source: Source<B>,
    device: B::Device,
}

#[derive(Debug, Clone)]
enum Source<B: Backend> {
    /// The streams whose names begin with `prefix`, at `counter`.
    Streams {
        streams: Streams,
        prefix: &'static str,
        counter: u32,
    },
    Given(BTreeMap<String, Given<B>>),
}

/// Given random numbers.
#[derive(Debug, Clone)]
pub enum Given<B: Backend> {
    /// `[rows, columns]`
    Numbers(Tensor<B, 2>),
    /// `[rows]`
    Integers(Tensor<B, 1, Int>),
    /// Noise of a denoising chain.
    Chain(ChainNoise<B>),
}

impl<B: RescoreBackend> Draws<B> {
    /// Those of the update numbered `updates`, from the streams `update/..`.
    pub fn updating(streams: Streams, updates: u64, device: &B::Device) -> Self {
        Self::from(streams, "update", updates as u32, device)
    }

    /// Those of acting for the `counter`-th time, from the streams `act/..`.
    pub fn acting(streams: Streams, counter: u32, device: &B::Device) -> Self {
        Self::from(streams, "act", counter, device)
    }

    fn from(streams: Streams, prefix: &'static str, counter: u32, device: &B::Device) -> Self {
        let source = Source::Streams {
            streams,
            prefix,
            counter,
        };
        let device = device.clone();
        Self { source, device }
    }

    /// Explicit numbers by name, for checks against another implementation.
    pub fn given(draws: BTreeMap<String, Given<B>>, device: &B::Device) -> Self {
        Self {
            source: Source::Given(draws),
            device: device.clone(),
        }
    }

    /// What stands behind `name`: a stream, or what was given.
    fn find(&self, name: &str) -> Result<Noise, &Given<B>> {
        match &self.source {
            Source::Streams {
                streams,
                prefix,
                counter,
            } => Ok(Noise {
                key: streams.key(&format!("{prefix}/{name}")),
                counter: *counter,
            }),
            Source::Given(draws) => Err(draws
                .get(name)
                .unwrap_or_else(|| panic!("the draw `{name}` was not given"))),
        }
    }

    /// Unit normals `[rows, columns]`.
    ///
    /// # Panics
    /// When the draws were given and there are no such numbers of that shape among them.
    pub fn normals(&self, name: &str, shape: [usize; 2]) -> Tensor<B, 2> {
        match self.find(name) {
            Ok(noise) => noise.normal(shape, &self.device),
            Err(Given::Numbers(numbers)) => {
                assert_eq!(numbers.dims(), shape, "shape of the draw `{name}`");
                numbers.clone()
            }
            Err(Given::Integers(_) | Given::Chain(_)) => {
                panic!("the draw `{name}` was not given as numbers")
            }
        }
    }

    /// Uniform numbers in (0, 1), `[rows, columns]`: odd multiples of 2^-24, which 32 bits hold
    /// exactly and which are never 0 or 1.
    ///
    /// # Panics
    /// As [`Draws::normals`].
    pub fn uniforms(&self, name: &str, shape: [usize; 2]) -> Tensor<B, 2> {
        match self.find(name) {
            Ok(noise) => {
                let odd = noise
                    .integers(shape[0] * shape[1], 1 << 23, &self.device)
                    .float();
                let odd = odd.mul_scalar(2.0).add_scalar(1.0);
                odd.div_scalar(f64::from(1 << 24)).reshape(shape)
            }
            Err(_) => self.normals(name, shape),
        }
    }

    /// Uniform numbers between two bounds, `[rows, columns]`; numbers that were given are taken as they
    /// are.
    ///
    /// # Panics
    /// As [`Draws::normals`].
    pub fn uniforms_between(
        &self,
        name: &str,
        shape: [usize; 2],
        [low, high]: [f64; 2],
    ) -> Tensor<B, 2> {
        match self.find(name) {
            Ok(_) => self
                .uniforms(name, shape)
                .mul_scalar(high - low)
                .add_scalar(low),
            Err(_) => self.normals(name, shape),
        }
    }

    /// Integers in `0..below`, `[count]`.
    ///
    /// # Panics
    /// As [`Draws::normals`].
    pub fn integers(&self, name: &str, count: usize, below: usize) -> Tensor<B, 1, Int> {
        match self.find(name) {
            Ok(noise) => noise.integers(count, below, &self.device),
            Err(Given::Integers(integers)) => integers.clone(),
            Err(Given::Numbers(_) | Given::Chain(_)) => {
                panic!("the draw `{name}` was not given as integers")
            }
        }
    }

    /// Noise of a denoising chain as `sampler` starts it.
    ///
    /// # Panics
    /// As [`Draws::normals`].
    pub fn chain(&self, name: &str, sampler: &Sampler) -> ChainNoise<B> {
        match self.find(name) {
            Ok(noise) => sampler.noise(noise.key, noise.counter),
            Err(Given::Chain(chain)) => chain.clone(),
            Err(Given::Numbers(_) | Given::Integers(_)) => {
                panic!("the draw `{name}` was not given as noise of a chain")
            }
        }
    }
}
