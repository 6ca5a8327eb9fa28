//! The room that the files of an in-memory backend share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes claimed by all files of a storage, and how many there may be. Clones share both.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    used: AtomicU64,
    capacity: AtomicU64,
}

impl Space {
    pub(crate) fn new(capacity: Option<u64>) -> Self {
        let inner = Inner { used: AtomicU64::new(0), capacity: AtomicU64::new(capacity.unwrap_or(u64::MAX)) };
        Self { inner: Arc::new(inner) }
    }

    /// Sets the limit. What is claimed already stays claimed, even beyond the limit.
    pub(crate) fn set_capacity(&self, capacity: Option<u64>) {
        self.inner.capacity.store(capacity.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn capacity(&self) -> Option<u64> {
        Some(self.inner.capacity.load(Ordering::Relaxed)).filter(|&c| c != u64::MAX)
    }

    pub(crate) fn used(&self) -> u64 {
        self.inner.used.load(Ordering::Relaxed)
    }

    pub(crate) fn claim(&self, bytes: u64) -> io::Result<()> {
        let capacity = self.inner.capacity.load(Ordering::Relaxed);
        let grown = |used: u64| used.checked_add(bytes).filter(|&sum| bytes == 0 || sum <= capacity);
        match self.inner.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    pub(crate) fn release(&self, bytes: u64) {
        let before = self.inner.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "released {bytes} of {before} bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_stop_at_the_capacity() {
        let space = Space::new(Some(10));
        space.claim(6).unwrap();
        assert_eq!(space.claim(5).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(space.used(), 6);
        space.release(2);
        space.claim(6).unwrap();
        space.set_capacity(Some(1));
        space.claim(0).unwrap();
        assert!(space.claim(1).is_err());
        space.set_capacity(None);
        space.claim(1 << 40).unwrap();
    }
}
