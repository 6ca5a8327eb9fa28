//! What a crash decides about.

/// One thing that a crash may leave as it was, as it is, or as it was between: a sector, a length, or an operation on names.
///
/// The alternatives of a piece are numbered: 0 is what was durable, each further one what another operation made of it, the
/// last the newest. Operations are known by their numbers, which [`OperationCounts::total`](crate::OperationCounts::total)
/// said before them: so pieces of one write, which a disk often writes together, are told from those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Whether a creation, renaming or removal happened.
    Name {
        /// The operation's number.
        writers: &'a [u64],
    },
    /// The length of a file.
    Length {
        /// A number that the file keeps, whatever its name.
        file: u64,
        /// The operation that made each alternative but the first.
        writers: &'a [u64],
    },
    /// One sector of a file.
    Sector {
        /// A number that the file keeps, whatever its name.
        file: u64,
        /// Its number, from the file's first byte on.
        number: u64,
        /// The operation that made each alternative but the first.
        writers: &'a [u64],
    },
}

impl Piece<'_> {
    /// The operation that made each alternative but the first.
    #[must_use]
    pub fn writers(&self) -> &[u64] {
        match self {
            Piece::Name { writers } | Piece::Length { writers, .. } | Piece::Sector { writers, .. } => {
                writers
            }
        }
    }

    /// How many alternatives there are: at least two.
    #[must_use]
    pub fn alternatives(&self) -> usize {
        self.writers().len() + 1
    }

    /// The alternative in which the operations that `keeps` accepts have happened: what the last of them made.
    #[must_use]
    pub fn keeping(&self, mut keeps: impl FnMut(u64) -> bool) -> usize {
        self.writers().iter().rposition(|&writer| keeps(writer)).map_or(0, |index| index + 1)
    }
}
