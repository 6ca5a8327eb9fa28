//! Pages that wait for something, each once.

use std::collections::VecDeque;

use crate::PageId;

/// A queue that a page is in at most once.
#[derive(Debug, Default)]
pub(crate) struct PageQueue {
    order: VecDeque<PageId>,
    /// One bit a page: whether it is in `order`.
    waiting: Vec<u64>,
}

impl PageQueue {
    /// Adds a page at the end, unless it is waiting already.
    pub(crate) fn push(&mut self, page: PageId) {
        let (word, bit) = (page.0 as usize / 64, 1 << (page.0 % 64));
        if self.waiting.len() <= word {
            self.waiting.resize((word + 1).next_power_of_two(), 0);
        }
        if self.waiting[word] & bit == 0 {
            self.waiting[word] |= bit;
            self.order.push_back(page);
        }
    }

    /// The page that has waited for the longest time.
    pub(crate) fn pop(&mut self) -> Option<PageId> {
        let page = self.order.pop_front()?;
        self.waiting[page.0 as usize / 64] &= !(1 << (page.0 % 64));
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_waits_once() {
        let mut queue = PageQueue::default();
        for page in [3, 1, 3, 3] {
            queue.push(PageId(page));
        }
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(PageId(3)), Some(PageId(1)), None));
        queue.push(PageId(3));
        assert_eq!(queue.pop(), Some(PageId(3)));
    }
}
