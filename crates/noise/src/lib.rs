//! The counter-based random numbers of training: Philox4x32-10 and a polynomial Box-Muller
//! transform.
//!
//! A number is a pure function of a key (seed and stream name) and a counter (row, column block,
//! step, update), so nothing depends on the order in which numbers are drawn, on the number of
//! threads or on the tile size of a kernel, and a checkpoint has no generator state to store.
//!
//! Source: J. Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011 (Philox);
//! G. Box and M. Muller, 1958 (normals). The polynomials are those of S. Moshier's Cephes
//! library. No hardware sine, logarithm or fused multiply-add takes part, so that all backends
//! compute the same numbers.
//!
//! ```
//! use rescore_noise::NoiseKey;
//!
//! let key = NoiseKey::new(7, "act");
//! let mut together = [0.0; 2 * 3];
//! key.fill_normals(&mut together, 3, 0, 0, 1);
//! let mut second = [0.0; 3];
//! key.fill_normals(&mut second, 3, 1, 0, 1);
//! assert_eq!(together[3..], second);
//! ```

#[macro_use]
mod multiversion;

/// Key of one stream of random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NoiseKey([u32; 2]);

/// The finaliser of `SplitMix64` (Steele, Lea and Flood 2014): a bijection of 64-bit words.
const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl NoiseKey {
    /// The key of the stream called `stream` in a run with this `seed`: a 64-bit mix of both.
    pub fn new(seed: u64, stream: &str) -> Self {
        // FNV-1a of the name; the mixing makes neighbouring seeds and similar names unrelated.
        let name = stream
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
            });
        let key = mix(seed ^ mix(name));
        Self([key as u32, (key >> 32) as u32])
    }

    /// A 64-bit seed derived from this key, for generators that keep their own state
    /// (environments).
    pub const fn seed(self) -> u64 {
        (self.0[1] as u64) << 32 | self.0[0] as u64
    }

    /// Both words, for kernels that compute [`NoiseKey::bits`] themselves.
    pub const fn words(self) -> [u32; 2] {
        self.0
    }

    /// Four random words for the counter `(row, block, step, counter)`: Philox4x32-10.
    #[inline(always)]
    pub const fn bits(self, row: u32, block: u32, step: u32, counter: u32) -> [u32; 4] {
        let [mut k0, mut k1] = self.0;
        let mut c = [row, block, step, counter];
        let mut round = 0;
        while round < 10 {
            let p0 = 0xD251_1F53_u64 * c[0] as u64;
            let p1 = 0xCD9E_8D57_u64 * c[2] as u64;
            c = [
                (p1 >> 32) as u32 ^ c[1] ^ k0,
                p1 as u32,
                (p0 >> 32) as u32 ^ c[3] ^ k1,
                p0 as u32,
            ];
            k0 = k0.wrapping_add(0x9E37_79B9);
            k1 = k1.wrapping_add(0xBB67_AE85);
            round += 1;
        }
        c
    }

    /// Four standard normals for the columns `4 * block ..` of `row`.
    #[inline(always)]
    pub fn normals(self, row: u32, block: u32, step: u32, counter: u32) -> [f32; 4] {
        let [a, b, c, d] = self.bits(row, block, step, counter);
        let (n0, n1) = box_muller(a, b);
        let (n2, n3) = box_muller(c, d);
        [n0, n1, n2, n3]
    }

    /// An integer in `0..bound`, from the 64-bit product of a random word with `bound`.
    ///
    /// The bias is below `bound / 2^64`. `bound` must not be 0.
    #[inline]
    pub const fn index(self, row: u32, counter: u32, bound: u64) -> u64 {
        let [low, high, ..] = self.bits(row, 0, 0, counter);
        let word = (high as u64) << 32 | low as u64;
        ((word as u128 * bound as u128) >> 64) as u64
    }

    /// A number in (0, 1]: a multiple of 2^-24 plus 2^-25, rounded.
    #[inline]
    pub const fn uniform(self, row: u32, column: u32, counter: u32) -> f32 {
        let words = self.bits(row, column / 4, 0, counter);
        unit(words[(column % 4) as usize])
    }

    /// Fills `rows`, laid out `[rows, columns]`, with standard normals. Row `i` gets the counter
    /// row `first_row + i`.
    pub fn fill_normals(
        self,
        rows: &mut [f32],
        columns: usize,
        first_row: u32,
        step: u32,
        counter: u32,
    ) {
        for (group, rows) in rows.chunks_mut((LANES * columns).max(1)).enumerate() {
            let first_row = first_row.wrapping_add((group * LANES) as u32);
            for block in 0..columns.div_ceil(4) {
                let mut normals = [[0.0; LANES]; 4];
                normals_of_rows(&mut normals, self, first_row, block as u32, step, counter);
                let width = (columns - 4 * block).min(4);
                for (lane, row) in rows.chunks_exact_mut(columns).enumerate() {
                    for (place, normals) in normals[..width].iter().enumerate() {
                        row[4 * block + place] = normals[lane];
                    }
                }
            }
        }
    }
}

/// Rows whose numbers are drawn together, so that the compiler has registers to fill.
const LANES: usize = 16;

multiversion! {
    /// The four normals of column block `block` for `LANES` rows from `first_row` on:
    /// [`NoiseKey::normals`] of each, the same operations and so the same bits.
    fn normals_of_rows(
        normals: &mut [[f32; LANES]; 4],
        key: NoiseKey,
        first_row: u32,
        block: u32,
        step: u32,
        counter: u32,
    ) {
        let mut words = [[0_u32; LANES]; 4];
        for lane in 0..LANES {
            let row = first_row.wrapping_add(lane as u32);
            let [a, b, c, d] = key.bits(row, block, step, counter);
            (words[0][lane], words[1][lane]) = (a, b);
            (words[2][lane], words[3][lane]) = (c, d);
        }
        for pair in [0, 2] {
            for lane in 0..LANES {
                let (first, second) = box_muller(words[pair][lane], words[pair + 1][lane]);
                (normals[pair][lane], normals[pair + 1][lane]) = (first, second);
            }
        }
    }
}

/// A 32-bit hash of the bits of `values` (FNV-1a on words, finished by `MurmurHash3`'s mixer): the
/// counter under which the noise of an observation is drawn, so that an action is a function of the
/// observation alone.
pub fn hash(values: &[f32]) -> u32 {
    let folded = values.iter().fold(0x811C_9DC5_u32, |hash, value| {
        // -0.0 and 0.0 are one observation
        (hash ^ (value + 0.0).to_bits()).wrapping_mul(0x0100_0193)
    });
    let mut h = folded;
    h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
    h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

/// A random word as a number in (0, 1].
#[inline(always)]
const fn unit(word: u32) -> f32 {
    // signed, because that is what every instruction set can convert
    ((word >> 8).cast_signed() as f32 + 0.5) * (1.0 / 16_777_216.0)
}

/// Two independent standard normals from two random words.
#[inline(always)]
fn box_muller(first: u32, second: u32) -> (f32, f32) {
    let radius = (-2.0 * ln(unit(first))).sqrt();
    let (sin, cos) = sin_cos_turns(unit(second));
    (radius * cos, radius * sin)
}

/// Natural logarithm for arguments in [2^-25, 1], error below 1e-7 relative to max(1, |ln x|).
#[inline(always)]
fn ln(x: f32) -> f32 {
    // x = m 2^e with m in [sqrt(1/2), sqrt(2))
    let bits = x.to_bits();
    let shifted = bits.wrapping_sub(0x3F35_04F3); // bits of sqrt(1/2)
    let exponent = shifted.cast_signed() >> 23;
    let mantissa = f32::from_bits(bits.wrapping_sub((exponent << 23).cast_unsigned()));
    let e = exponent as f32;
    let z = mantissa - 1.0;
    let mut p = 7.037_683_6e-2_f32;
    for c in [
        -1.151_461e-1_f32,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_7e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ] {
        p = p * z + c;
    }
    let z2 = z * z;
    // ln 2 in two parts keeps the sum exact to the last bits
    let y = p * z * z2 - 2.121_944_4e-4 * e - 0.5 * z2;
    z + y + 0.693_359_4 * e
}

/// Sine and cosine of `2 pi turns` for `turns` in [0, 1], error below 1e-7.
#[inline(always)]
fn sin_cos_turns(turns: f32) -> (f32, f32) {
    // Adding 1.5 * 2^23 rounds to the nearest quarter turn, whose number then stands in the lowest
    // bits; the rest lies in [-1/8, 1/8] turns.
    let shifted = turns * 4.0 + 12_582_912.0;
    let angle = (turns - (shifted - 12_582_912.0) * 0.25) * std::f32::consts::TAU;
    let z = angle * angle;
    let sin = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 1.666_665_5e-1) * z * angle + angle;
    let cos = ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    // Odd quarters swap sine and cosine; the sign bits follow from the quarter's two bits.
    let quarter = shifted.to_bits();
    let (s, c) = if quarter & 1 == 0 {
        (sin, cos)
    } else {
        (cos, sin)
    };
    let sin_sign = (quarter & 2) << 30;
    let cos_sign = (quarter.wrapping_add(1) & 2) << 30;
    (
        f32::from_bits(s.to_bits() ^ sin_sign),
        f32::from_bits(c.to_bits() ^ cos_sign),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Philox4x32-10 from the Random123 distribution (`kat_vectors`).
    #[test]
    fn philox_gives_the_known_answers() {
        let zero = NoiseKey([0, 0]).bits(0, 0, 0, 0);
        assert_eq!(zero, [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]);
        let ones = NoiseKey([u32::MAX; 2]).bits(u32::MAX, u32::MAX, u32::MAX, u32::MAX);
        assert_eq!(ones, [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]);
        let pi = NoiseKey([0xA409_3822, 0x299F_31D0]).bits(
            0x243F_6A88,
            0x85A3_08D3,
            0x1319_8A2E,
            0x0370_7344,
        );
        assert_eq!(pi, [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1]);
    }

    /// Runs of released versions depend on the key: changing how it is mixed breaks this.
    #[test]
    fn the_key_of_a_stream_is_fixed() {
        assert_eq!(NoiseKey::new(0, "act").seed(), 0xBE46_25E3_A7EB_B755);
        assert_ne!(NoiseKey::new(0, "act"), NoiseKey::new(1, "act"));
        assert_ne!(NoiseKey::new(0, "act"), NoiseKey::new(0, "replay"));
    }

    #[test]
    fn logarithm_and_sine_agree_with_f64() {
        for i in 0..=100_000_u32 {
            let u = unit(i.wrapping_mul(2_654_435_761) | (i & 0xFF));
            let exact = f64::from(u).ln();
            assert!(
                (f64::from(ln(u)) - exact).abs() <= 1e-7 * exact.abs().max(1.0),
                "ln({u})"
            );
            let (s, c) = sin_cos_turns(u);
            let (es, ec) = (f64::from(u) * std::f64::consts::TAU).sin_cos();
            // the rest of the angle carries the rounding of 2 pi: a few units of 2^-24
            assert!((f64::from(s) - es).abs() < 4e-7, "sin {u}: {s} {es}");
            assert!((f64::from(c) - ec).abs() < 4e-7, "cos {u}: {c} {ec}");
        }
    }

    /// Moments up to the fourth and the correlation of neighbours, each within four standard
    /// errors (chance of a false alarm below 1e-3 had the seed not been fixed).
    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let key = NoiseKey::new(7, "test");
        let n = 400_000_usize;
        let mut values = vec![0.0_f32; n];
        key.fill_normals(&mut values, 4, 0, 3, 11);
        let mean_of = |f: &dyn Fn(f64) -> f64| {
            values.iter().map(|v| f(f64::from(*v))).sum::<f64>() / n as f64
        };
        let se = 1.0 / (n as f64).sqrt();
        assert!(mean_of(&|v| v).abs() < 4.0 * se);
        assert!((mean_of(&|v| v * v) - 1.0).abs() < 4.0 * se * 2f64.sqrt());
        assert!(mean_of(&|v| v.powi(3)).abs() < 4.0 * se * 15f64.sqrt());
        assert!((mean_of(&|v| v.powi(4)) - 3.0).abs() < 4.0 * se * 96f64.sqrt());
        for lag in 1..5 {
            let c = values
                .windows(lag + 1)
                .map(|w| f64::from(w[0]) * f64::from(w[lag]))
                .sum::<f64>()
                / n as f64;
            assert!(c.abs() < 4.0 * se, "lag {lag}: {c}");
        }
    }

    /// A Kolmogorov-Smirnov statistic of the normals against the exact distribution function.
    #[test]
    fn normals_follow_the_normal_distribution() {
        let key = NoiseKey::new(3, "test");
        let mut values = vec![0.0_f32; 100_000];
        key.fill_normals(&mut values, 5, 0, 0, 0);
        values.sort_by(f32::total_cmp);
        let n = values.len() as f64;
        let worst = values
            .iter()
            .enumerate()
            .map(|(i, v)| (normal_cdf(f64::from(*v)) - (i as f64 + 0.5) / n).abs())
            .fold(0.0, f64::max);
        // 1.95 / sqrt(n) is the 0.1 % point
        assert!(worst < 1.95 / n.sqrt(), "{worst}");
    }

    /// Abramowitz and Stegun 26.2.17, error below 7.5e-8.
    fn normal_cdf(x: f64) -> f64 {
        let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
        let poly = t
            * (0.319_381_530
                + t * (-0.356_563_782
                    + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
        let tail = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt() * poly;
        if x > 0.0 { 1.0 - tail } else { tail }
    }

    #[test]
    fn indices_are_uniform_and_in_range() {
        let key = NoiseKey::new(1, "replay");
        let mut counts = [0_u32; 7];
        for row in 0..70_000 {
            counts[key.index(row, 5, 7) as usize] += 1;
        }
        // standard deviation of a count is 93
        assert!(
            counts.iter().all(|c| (9_600..10_400).contains(c)),
            "{counts:?}"
        );
    }

    /// What is drawn in groups of rows has the bits of what is drawn one by one.
    #[test]
    fn drawing_rows_together_changes_no_bit() {
        let key = NoiseKey::new(9, "together");
        for (rows, columns) in [(1, 1), (3, 6), (16, 4), (33, 7), (40, 17)] {
            let mut together = vec![0.0; rows * columns];
            key.fill_normals(&mut together, columns, u32::MAX - 5, 3, 8);
            for (i, value) in together.iter().enumerate() {
                let (row, column) = ((i / columns) as u32, i % columns);
                let row = (u32::MAX - 5).wrapping_add(row);
                let one = key.normals(row, (column / 4) as u32, 3, 8)[column % 4];
                assert_eq!(value.to_bits(), one.to_bits(), "{rows} {columns} {i}");
            }
        }
    }

    #[test]
    fn rows_do_not_depend_on_how_many_are_drawn() {
        let key = NoiseKey::new(0, "rows");
        let mut all = vec![0.0; 10 * 6];
        key.fill_normals(&mut all, 6, 0, 2, 1);
        let mut some = vec![0.0; 3 * 6];
        key.fill_normals(&mut some, 6, 4, 2, 1);
        assert_eq!(all[24..42], some[..]);
    }
}
