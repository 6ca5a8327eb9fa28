//! Keys that are made from fields of a record.

/// Which fields make up a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyFields {
    names: Vec<String>,
    separator: Vec<u8>,
}

impl KeyFields {
    /// The fields of these names, with `separator` between them; nothing without names.
    pub(crate) fn new(names: Vec<String>, separator: Vec<u8>) -> Option<KeyFields> {
        (!names.is_empty()).then_some(KeyFields { names, separator })
    }

    /// Puts the key together from what `field` says about every name.
    pub(crate) fn join<T: AsRef<[u8]>>(
        &self,
        key: &mut Vec<u8>,
        mut field: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<(), String> {
        key.clear();
        for (at, name) in self.names.iter().enumerate() {
            if at > 0 {
                key.extend_from_slice(&self.separator);
            }
            key.extend_from_slice(field(name)?.as_ref());
        }
        Ok(())
    }
}
