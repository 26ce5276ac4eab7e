//! Deterministic numbers from a seed (SplitMix64). Everything that happens by chance in a run comes from here.

/// A source of numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The numbers of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Another source, so that what one part of the world draws does not move what another draws.
    #[must_use]
    pub fn fork(&mut self, of: u64) -> Dice {
        let mut dice = Dice(self.roll() ^ of.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let _ = dice.roll();
        dice
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly from 0 to below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    /// Evenly from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least).saturating_add(1))
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }

    /// Around `mean`, exponentially distributed: short mostly, long at times, at most twelve times as long.
    pub fn about(&mut self, mean: u64) -> u64 {
        let uniform = (self.roll() >> 11) as f64 / (1_u64 << 53) as f64;
        (-(1.0 - uniform).ln()).min(12.0).mul_add(mean as f64, 1.0) as u64
    }
}
