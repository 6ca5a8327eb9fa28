//! Bytes that a command line cannot carry, or a terminal not show.

use std::ffi::OsStr;
use std::fmt::Write as _;

/// More of a key is not shown in messages.
const SHOWN_BYTES_MAX: usize = 80;

/// The bytes of an argument. On Unix they are what was given, on other systems the argument in UTF-8.
pub(crate) fn argument_bytes(argument: &OsStr) -> Vec<u8> {
    argument.as_encoded_bytes().to_vec()
}

/// Replaces `\\`, `\t`, `\n`, `\r`, `\0` and `\xNN` by the bytes they mean; an error for any other backslash.
pub(crate) fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (decoded, len) = match *rest {
            [b'\\', ..] => (b'\\', 1),
            [b't', ..] => (b'\t', 1),
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b'0', ..] => (0, 1),
            [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_digit(high) << 4 | hex_digit(low), 3)
            }
            _ => {
                let text = shown(text);
                return Err(format!(
                    "{text} has a backslash that means nothing; there are \\\\, \\t, \\n, \\r, \\0 and \\xNN"
                ));
            }
        };
        bytes.push(decoded);
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(bytes)
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// Bytes for a message, on one line and cut to a bearable length: as text in quotes where they are text.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let cut = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
    let mut text = match std::str::from_utf8(bytes) {
        Ok(whole) => {
            let end = whole
                .char_indices()
                .map(|(at, c)| at + c.len_utf8())
                .take_while(|&end| end <= SHOWN_BYTES_MAX);
            format!("{:?}", &whole[..end.last().unwrap_or_default()])
        }
        Err(_) => format!("b\"{}\"", cut.escape_ascii()),
    };
    if cut.len() < bytes.len() {
        // Writing to a string cannot fail.
        let _ = write!(text, "... ({} bytes)", bytes.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_the_bytes_they_name() {
        assert_eq!(unescape(br"a\tb\n\r\0\\\x00\xfF").unwrap(), b"a\tb\n\r\0\\\x00\xff");
        assert_eq!(unescape(b"\xff plain").unwrap(), b"\xff plain");
        for wrong in [&br"\"[..], br"\q", br"\x", br"\x1", br"\xg0"] {
            assert!(unescape(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_are_shown_on_one_line_and_not_at_length() {
        assert_eq!(shown(b"plain"), r#""plain""#);
        assert_eq!(shown("größe\n".as_bytes()), r#""größe\n""#);
        assert_eq!(shown(b"\xff\n"), r#"b"\xff\n""#);
        assert_eq!(shown(&[b'a'; 80]).len(), 82);
        assert_eq!(shown(&[b'a'; 81]), format!("\"{}\"... (81 bytes)", "a".repeat(80)));
        assert_eq!(shown("ä".repeat(50).as_bytes()), format!("\"{}\"... (100 bytes)", "ä".repeat(40)));
        assert_eq!(
            shown(format!("a{}", "ä".repeat(50)).as_bytes()),
            format!("\"a{}\"... (101 bytes)", "ä".repeat(39))
        );
        assert!(shown(&[0xFF; 100]).ends_with("... (100 bytes)"));
    }
}
