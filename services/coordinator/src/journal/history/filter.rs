//! Which keys are surely not in a file, from few bits of memory for each that is: almost every request id that comes is
//! new, and no file is read for it.

use bytes::Bytes;
use rstuf_tuf::Sha256;

/// Bits and probes for each key: one key in a hundred is looked for in vain.
const BITS_PER_KEY: usize = 10;
const PROBES: u64 = 7;

/// What a filter looks at in place of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyHash {
    first: u64,
    step: u64,
}

impl KeyHash {
    pub(super) fn of(key: &[u8]) -> Self {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let digest = Sha256::of(key);
        Self { first: number(&digest.as_bytes()[..8]), step: number(&digest.as_bytes()[8..16]) | 1 }
    }

    fn probes(self, bits: u64) -> impl Iterator<Item = (usize, u8)> {
        (0..PROBES).map(move |number| {
            let bit = self.first.wrapping_add(self.step.wrapping_mul(number)) % bits;
            (usize::try_from(bit / 8).unwrap_or(usize::MAX), 1 << (bit % 8))
        })
    }
}

/// The bits of a filter over these keys.
pub(super) fn build(keys: &[KeyHash]) -> Vec<u8> {
    let mut filter = vec![0_u8; (keys.len() * BITS_PER_KEY).div_ceil(8).max(1)];
    let bits = filter.len() as u64 * 8;
    for (byte, bit) in keys.iter().flat_map(|key| key.probes(bits)) {
        filter[byte] |= bit;
    }
    filter
}

/// Whether the key may be among those that the filter was built over; if not, it surely is not.
pub(super) fn may_hold(filter: &Bytes, key: KeyHash) -> bool {
    let bits = filter.len() as u64 * 8;
    bits > 0 && key.probes(bits).all(|(byte, bit)| filter.get(byte).is_some_and(|it| it & bit != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_all_its_keys_and_few_others() {
        let hash = |number: u32| KeyHash::of(format!("request/{number}").as_bytes());
        let filter = Bytes::from(build(&(0..2_000).map(hash).collect::<Vec<_>>()));
        assert!((0..2_000).all(|number| may_hold(&filter, hash(number))));
        let others = (2_000..12_000).filter(|number| may_hold(&filter, hash(*number))).count();
        assert!(others < 300, "{others} of 10,000");
        assert!(!may_hold(&Bytes::from(build(&[])), hash(1)));
    }
}
