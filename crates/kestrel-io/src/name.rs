//! Which names a file may have: the same for every backend, so that a name which works in one works in all.

use std::io;

/// The longest name, in bytes: what common file systems allow.
const NAME_BYTES_MAX: usize = 255;

/// Refuses names that would leave the directory or that no file system can hold.
pub(crate) fn check(name: &str) -> io::Result<()> {
    let bad = name.is_empty()
        || name == "."
        || name == ".."
        || name.len() > NAME_BYTES_MAX
        || name.chars().any(|c| matches!(c, '/' | '\\' | ':' | '\0'));
    if bad {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is not a plain file name"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_pass_and_others_do_not() {
        for good in ["a", "kestrel.log.00000000000000000000", "..a", ".hidden"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", ".", "..", "a/b", "/a", "a\\b", "c:x", "a\0", &long] {
            assert_eq!(check(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad}");
        }
    }
}
