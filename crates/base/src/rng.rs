//! Random numbers as an argument: one seeded generator for every tag, branch and nonce.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// A cryptographically secure generator. The server seeds it from the kernel, a test from a number.
#[derive(Debug)]
pub struct Rng(ChaCha12Rng);

impl Rng {
    /// A generator that returns the same sequence for the same seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Rng(ChaCha12Rng::from_seed(seed))
    }

    /// A generator seeded from a number, for tests and simulations.
    pub fn from_number(number: u64) -> Self {
        Rng(ChaCha12Rng::seed_from_u64(number))
    }

    /// A new generator, independent of the further output of this one.
    pub fn fork(&mut self) -> Rng {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Rng::from_seed(seed)
    }

    /// Fill `bytes` with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A random number in `0..bound`; 0 if `bound` is 0. The bias is below 2⁻³² for bounds under 2³².
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// `len` random characters of `0-9a-z`, about 5.17 bits each.
    pub fn base36(&mut self, len: usize) -> String {
        (0..len).map(|_| char::from_digit(self.below(36) as u32, 36).unwrap_or('0')).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_and_forks_differ() {
        let (mut a, mut b) = (Rng::from_number(7), Rng::from_number(7));
        assert_eq!(a.base36(20), b.base36(20));
        assert_ne!(a.fork().u64(), a.u64());
        assert!((0..1000).all(|_| a.below(3) < 3));
        assert_eq!(a.below(0), 0);
    }
}
