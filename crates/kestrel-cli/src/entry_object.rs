//! An entry as a JSON object, without loss.
//!
//! A key or value that is UTF-8 is a string in a field of its name (`"key"`), any other is Base64 (RFC 4648,
//! with padding) in a field with `_base64` behind the name (`"key_base64"`). `scan` writes these objects,
//! `load` reads them.

use std::collections::BTreeMap;
use std::io::{self, Write};

use base64::engine::general_purpose::STANDARD;
use base64::{Engine as _, write::EncoderWriter};
use serde_json::value::RawValue;

/// The fields of a JSON object, each as its text stands in the line.
pub(crate) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Writes `{"key":...,"value":...}`; without a value, `{"key":...}`.
pub(crate) fn write_object(out: &mut dyn Write, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
    out.write_all(b"{")?;
    write_field(out, "key", key)?;
    if let Some(value) = value {
        out.write_all(b",")?;
        write_field(out, "value", value)?;
    }
    out.write_all(b"}")
}

fn write_field(out: &mut dyn Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            write!(out, "\"{name}\":")?;
            Ok(serde_json::to_writer(out, text)?)
        }
        Err(_) => {
            write!(out, "\"{name}_base64\":\"")?;
            let mut encoder = EncoderWriter::new(&mut *out, &STANDARD);
            encoder.write_all(bytes)?;
            encoder.finish()?;
            drop(encoder);
            out.write_all(b"\"")
        }
    }
}

/// Parses the fields of an object; says in words why it cannot.
pub(crate) fn parse_fields(line: &[u8]) -> Result<Fields<'_>, String> {
    serde_json::from_slice(line).map_err(|error| format!("no JSON object: {error}"))
}

/// The key and the value of an object that [`write_object`] wrote, or that has a key that is [text](text_of)
/// and a value that is any JSON: a string stands for its text, anything else for itself as it is written.
pub(crate) fn entry_of(fields: &Fields<'_>) -> Result<(Vec<u8>, Vec<u8>), String> {
    let known = ["key", "key_base64", "value", "value_base64"];
    if let Some(other) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(format!(
            "the field {other:?} would be lost: an entry has \"key\" and \"value\"; or name the fields of the \
             key with --key"
        ));
    }
    let key = either(fields, "key", "key_base64", |raw| text_of("key", raw))?;
    let value = either(fields, "value", "value_base64", |raw| {
        string_of("value", raw)?.map_or_else(|| Ok(raw.get().to_owned()), Ok)
    })?;
    Ok((key, value))
}

/// The bytes of a field that stands as text or as Base64.
fn either(
    fields: &Fields<'_>,
    name: &str,
    name_base64: &str,
    text: impl FnOnce(&RawValue) -> Result<String, String>,
) -> Result<Vec<u8>, String> {
    match (fields.get(name), fields.get(name_base64)) {
        (Some(plain), None) => text(plain).map(String::into_bytes),
        (None, Some(encoded)) => {
            let encoded = string_of(name_base64, encoded)?;
            let encoded = encoded.ok_or_else(|| format!("the field {name_base64:?} is no string"))?;
            STANDARD
                .decode(encoded)
                .map_err(|error| format!("the field {name_base64:?} is no Base64: {error}"))
        }
        (None, None) => Err(format!("there is no field {name:?}")),
        (Some(_), Some(_)) => Err(format!("there are both {name:?} and {name_base64:?}")),
    }
}

/// The text of a field that can be part of a key: a string's text; numbers, `true` and `false` as they are
/// written.
pub(crate) fn text_of(name: &str, raw: &RawValue) -> Result<String, String> {
    if let Some(text) = string_of(name, raw)? {
        return Ok(text);
    }
    let written = raw.get();
    match written.bytes().next() {
        Some(b'{' | b'[') | None => Err(format!("the field {name:?} is no text, number, true or false")),
        _ if written == "null" => Err(format!("the field {name:?} is null")),
        _ => Ok(written.to_owned()),
    }
}

/// The text of a string; nothing of anything else.
fn string_of(name: &str, raw: &RawValue) -> Result<Option<String>, String> {
    if !raw.get().starts_with('"') {
        return Ok(None);
    }
    // Half a surrogate pair in escapes is a string for JSON, but no text.
    serde_json::from_str(raw.get())
        .map(Some)
        .map_err(|error| format!("the field {name:?} is no text: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
        entry_of(&parse_fields(line.as_bytes())?)
    }

    #[test]
    fn every_entry_comes_back_from_its_object() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let odd = [
            &b""[..],
            b"plain",
            b"tab\tline\nquote\"back\\",
            b"\0",
            b"\xff",
            "größe \u{2028}".as_bytes(),
            &every_byte,
        ];
        for key in odd {
            for value in odd {
                let mut line = Vec::new();
                write_object(&mut line, key, Some(value)).unwrap();
                assert!(!line.contains(&b'\n'), "it is one line");
                assert_eq!(entry_of(&parse_fields(&line).unwrap()).unwrap(), (key.to_vec(), value.to_vec()));
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let mut line = Vec::new();
        write_object(&mut line, b"\xff\xfe", Some(b"v")).unwrap();
        assert_eq!(line, br#"{"key_base64":"//4=","value":"v"}"#);
        line.clear();
        write_object(&mut line, b"k", None).unwrap();
        assert_eq!(line, br#"{"key":"k"}"#);
    }

    #[test]
    fn values_that_are_no_strings_are_taken_as_written() {
        assert_eq!(
            entry(r#"{"key":1.50,"value":{"a": [1,2]}}"#).unwrap(),
            (b"1.50".to_vec(), br#"{"a": [1,2]}"#.to_vec())
        );
        assert_eq!(
            entry(r#" {"value" : null, "key":"\u00e4"} "#).unwrap(),
            ("ä".as_bytes().to_vec(), b"null".to_vec())
        );
        assert_eq!(
            entry(r#"{"key":true,"value":12345678901234567890123}"#).unwrap().1,
            b"12345678901234567890123"
        );
    }

    #[test]
    fn what_is_no_entry_says_why() {
        for (line, why) in [
            ("", "no JSON object"),
            ("[]", "no JSON object"),
            (r#"{"key":"a","value":"b"} x"#, "no JSON object"),
            (r#"{"key":"a"}"#, r#"there is no field "value""#),
            (r#"{"value":"a"}"#, r#"there is no field "key""#),
            (r#"{"key":null,"value":"b"}"#, r#"the field "key" is null"#),
            (r#"{"key":[],"value":"b"}"#, r#"the field "key" is no text"#),
            (r#"{"key":"a","key_base64":"","value":"b"}"#, "both"),
            (r#"{"key_base64":"?","value":"b"}"#, "no Base64"),
            (r#"{"key_base64":7,"value":"b"}"#, "no string"),
            (r#"{"key":"\ud800","value":"b"}"#, r#"the field "key" is no text"#),
            (r#"{"key":"a","value":"\udc00"}"#, r#"the field "value" is no text"#),
            (r#"{"key":"a","value":"b","extra":1}"#, r#"the field "extra" would be lost"#),
        ] {
            let said = entry(line).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}
