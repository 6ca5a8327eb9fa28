//! Which pages changed since the last checkpoint began.

/// A set of page ids. One bit a page, grown as needed.
#[derive(Debug, Default)]
pub struct DirtyPages {
    words: Vec<u64>,
}

impl DirtyPages {
    pub(crate) fn insert(&mut self, page: crate::PageId) {
        let (word, bit) = (page.0 as usize / 64, page.0 % 64);
        if self.words.len() <= word {
            self.words.resize((word + 1).next_power_of_two(), 0);
        }
        self.words[word] |= 1 << bit;
    }

    /// Adds all pages of another set.
    pub(crate) fn merge(&mut self, other: &DirtyPages) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    /// How many pages there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = crate::PageId> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(crate::PageId(index as u32 * 64 + bit))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PageId;

    #[test]
    fn pages_come_back_in_order_and_once() {
        let mut dirty = DirtyPages::default();
        assert!(dirty.is_empty());
        for page in [700, 0, 63, 64, 700] {
            dirty.insert(PageId(page));
        }
        let mut other = DirtyPages::default();
        other.insert(PageId(9000));
        dirty.merge(&other);
        assert_eq!(dirty.iter().map(|page| page.0).collect::<Vec<_>>(), [0, 63, 64, 700, 9000]);
        assert_eq!(dirty.len(), 5);
    }
}
