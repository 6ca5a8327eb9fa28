//! The answer of a compare-and-swap that did not happen.

use std::error::Error;
use std::fmt;

use crate::Value;

/// The key did not have the expected value, so nothing was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CasMismatch {
    /// The value it has; `None` if it is not there.
    pub current: Option<Value>,
}

impl fmt::Display for CasMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.current {
            Some(value) => write!(f, "the value is another one: {value:?}"),
            None => f.write_str("the key is not there"),
        }
    }
}

impl Error for CasMismatch {}
