//! Numbers of bytes on the command line.

use std::str::FromStr;

/// A number of bytes: `4096`, `64K`, `64M`, `1G`, with or without `B` or `iB` behind the letter. Units are
/// powers of 1024.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ByteSize(pub(crate) u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(unit_at);
        let shift = match unit.to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            "T" | "TB" | "TIB" => 40,
            _ => {
                return Err(format!(
                    "{unit:?} is no unit; give a whole number with K, M, G, T or nothing behind it"
                ));
            }
        };
        let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is no number of bytes"))?;
        number.checked_mul(1 << shift).map(ByteSize).ok_or_else(|| format!("{text} is too many bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("17B", 17),
            ("64K", 64 << 10),
            ("64M", 64 << 20),
            ("1g", 1 << 30),
            ("3GiB", 3 << 30),
            ("2TB", 2 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "M", "-1", "1.5G", "1 M", "1X", "1MBB", "99999999999999999999", "99999999T"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
