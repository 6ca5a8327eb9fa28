//! A running hash of all that happened, to tell whether two runs were the same.

use std::hash::Hasher;

/// Folds 128-bit products, eight bytes at a time (after Wang Yi's wyhash). Not for secrets.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    state: u64,
}

impl Digest {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.state ^ word ^ 0x2D35_8DCC_AA6C_78A5) * 0x8BB8_4B93_962E_ACC9_u128;
        self.state = (product as u64) ^ ((product >> 64) as u64) ^ self.state.rotate_left(23);
    }
}

/// Of the lanes of long inputs.
const LANES: [u64; 8] = [
    0x9E37_79B9_7F4A_7C15,
    0xBF58_476D_1CE4_E5B9,
    0x94D0_49BB_1331_11EB,
    0xA076_1D64_78BD_642F,
    0xE703_7ED1_A0B4_28DB,
    0x8EBC_6AF0_9C88_C6E3,
    0x5899_65CC_7537_4CC3,
    0x1D8E_4E27_C47D_124F,
];

impl Digest {
    /// Long inputs take eight lanes, which do not wait for each other.
    fn fold_blocks(&mut self, blocks: &[[u8; 64]]) {
        let mut lanes = LANES;
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            for (lane, &word) in lanes.iter_mut().zip(words) {
                *lane =
                    (*lane ^ u64::from_le_bytes(word)).wrapping_mul(0x2127_599B_F432_5C37).rotate_left(29);
            }
        }
        lanes.into_iter().for_each(|lane| self.fold(lane));
    }
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<64>();
        if !blocks.is_empty() {
            self.fold_blocks(blocks);
        }
        let (words, rest) = rest.as_chunks::<8>();
        words.iter().for_each(|&word| self.fold(u64::from_le_bytes(word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.fold(u64::from_le_bytes(last) ^ (rest.len() as u64) << 59);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_more_or_another_order_is_another_digest() {
        let of = |parts: &[&[u8]]| {
            let mut digest = Digest::default();
            parts.iter().for_each(|part| digest.write(part));
            digest.finish()
        };
        let all = [of(&[]), of(&[b""]), of(&[b"\0"]), of(&[b"a", b"b"]), of(&[b"b", b"a"]), of(&[b"ab"])];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
    }
}
