//! Random streams of environments.

use std::convert::Infallible;

use rand::rand_core::utils::fill_bytes_via_next_word;
use rand::{Rng as _, SeedableRng as _, TryRng};
use rand_pcg::Pcg64;

/// The generator every environment draws from, PCG64. It knows where in its stream it is, so
/// that two numbers say everything about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvRng {
    pcg: Pcg64,
    seed: u64,
    drawn: u64,
}

/// The generator for `seed`. The expansion from 64 bits is ours, so that it stays the same when a
/// dependency changes its own.
pub fn seeded_rng(seed: u64) -> EnvRng {
    let mut state = seed;
    let mut bytes = [0; 32];
    for word in bytes.chunks_exact_mut(8) {
        word.copy_from_slice(&splitmix64(&mut state).to_le_bytes());
    }
    EnvRng {
        pcg: Pcg64::from_seed(bytes),
        seed,
        drawn: 0,
    }
}

impl EnvRng {
    /// The generator for `seed` after `drawn` words of 64 bits.
    pub fn at(seed: u64, drawn: u64) -> Self {
        let mut rng = seeded_rng(seed);
        rng.pcg.advance(drawn.into());
        rng.drawn = drawn;
        rng
    }

    /// Seed and number of words drawn since: what [`EnvRng::at`] takes.
    pub fn position(&self) -> [u64; 2] {
        [self.seed, self.drawn]
    }

    fn next_word(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        self.pcg.next_u64()
    }
}

impl TryRng for EnvRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // The low half, as PCG64 itself gives it.
        Ok(self.next_word() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_word())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        fill_bytes_via_next_word(bytes, || Ok(self.next_word()))
    }
}

/// Seed of environment `index` of a vector environment with `base_seed`. Neighbouring base seeds
/// share no environment seeds, as `base_seed + index` would.
pub fn derive_seed(base_seed: u64, index: usize) -> u64 {
    let mut state = base_seed;
    let mut mixed = splitmix64(&mut state) ^ (index as u64);
    splitmix64(&mut mixed)
}

/// One output of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, RngExt};
    use std::collections::HashSet;

    #[test]
    fn splitmix64_gives_the_published_outputs() {
        // First outputs for the seed 1234567, as in the reference implementation's test.
        let mut state = 1_234_567;
        let got: Vec<u64> = (0..3).map(|_| splitmix64(&mut state)).collect();
        assert_eq!(
            got,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn equal_seeds_give_equal_streams_and_others_do_not() {
        let draw = |seed| {
            let mut rng = seeded_rng(seed);
            [rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn the_generator_is_pcg64_and_can_be_put_anywhere_in_its_stream() {
        let mut rng = seeded_rng(8);
        let mut pcg = rng.pcg.clone();
        for round in 0..20usize {
            match round % 3 {
                0 => assert_eq!(rng.next_u64(), pcg.next_u64()),
                1 => assert_eq!(rng.next_u32(), pcg.next_u32()),
                _ => {
                    let mut bytes = [[0; 21]; 2];
                    rng.fill_bytes(&mut bytes[0][..round]);
                    pcg.fill_bytes(&mut bytes[1][..round]);
                    assert_eq!(bytes[0], bytes[1]);
                }
            }
            let _: f64 = rng.random_range(0.0..1.0);
            let _: f64 = pcg.random_range(0.0..1.0);
            let [seed, drawn] = rng.position();
            assert_eq!(EnvRng::at(seed, drawn), rng);
        }
    }

    #[test]
    fn neighbouring_vector_environments_share_no_seed() {
        let seeds: HashSet<u64> = (0..50)
            .flat_map(|base| (0..50).map(move |index| derive_seed(base, index)))
            .collect();
        assert_eq!(seeds.len(), 2500);
    }
}
