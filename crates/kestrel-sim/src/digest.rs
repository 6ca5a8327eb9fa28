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

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
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
