//! One entry of the input.

/// An entry as it was read. Kept and overwritten, so that its memory is used again.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The key.
    pub(crate) key: Vec<u8>,
    /// The value.
    pub(crate) value: Vec<u8>,
}
