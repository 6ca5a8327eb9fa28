//! Stanzas of `Field: value` lines.

use crate::load::key_fields::KeyFields;
use crate::load::record::Record;

/// Whether a line, with or without its end, stands between stanzas.
pub(crate) fn is_separator(line: &[u8]) -> bool {
    matches!(line, b"" | b"\n" | b"\r\n" | b"\r")
}

/// Makes the key of the stanza that is the record's value; says in words why it cannot.
pub(crate) fn parse(keys: &KeyFields, record: &mut Record) -> Result<(), String> {
    let Record { key, value } = record;
    keys.join(key, |name| field(value, name))
}

/// The value of a field, without the white space around it. It must be there once, and on one line.
fn field<'s>(stanza: &'s [u8], name: &str) -> Result<&'s [u8], String> {
    let mut found = None;
    let mut lines = stanza.split(|&byte| byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let Some(value) = value_of(line, name) else { continue };
        if found.is_some() {
            return Err(format!("the stanza has the field {name:?} twice"));
        }
        if lines.peek().is_some_and(|next| next.starts_with(b" ") || next.starts_with(b"\t")) {
            return Err(format!("the field {name:?} of the stanza has several lines, so it cannot be a key"));
        }
        found = Some(value);
    }
    found.ok_or_else(|| format!("the stanza has no field {name:?}"))
}

fn value_of<'s>(line: &'s [u8], name: &str) -> Option<&'s [u8]> {
    let (before, behind) = line.split_at_checked(name.len())?;
    let value = behind.strip_prefix(b":")?;
    before.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(stanza: &[u8], names: &[&str]) -> Result<Vec<u8>, String> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let keys = KeyFields::new(names, b" ".to_vec()).unwrap();
        let mut record = Record { key: b"old".to_vec(), value: stanza.to_vec() };
        parse(&keys, &mut record).map(|()| record.key)
    }

    #[test]
    fn a_key_is_made_of_the_fields_in_the_order_asked_for() {
        let stanza = b"Package: lib a\nVERSION:\t1.0-1  \r\nDescription: x\n Package: not this\nEmpty:\n";
        assert_eq!(key(stanza, &["Package"]).unwrap(), b"lib a");
        assert_eq!(key(stanza, &["version", "package"]).unwrap(), b"1.0-1 lib a");
        assert_eq!(key(stanza, &["Empty"]).unwrap(), b"");
        assert_eq!(key(b"Package:a", &["Package"]).unwrap(), b"a");
    }

    #[test]
    fn a_stanza_without_its_key_says_why() {
        assert!(
            key(b"Pack: a\nPackages: b\n Package: c\n", &["Package"])
                .unwrap_err()
                .contains("no field \"Package\"")
        );
        assert!(key(b"Package: a\nPackage: b\n", &["Package"]).unwrap_err().contains("twice"));
        assert!(key(b"Package: a\n b\n", &["Package"]).unwrap_err().contains("several lines"));
        assert!(key(b"Package\n", &["Package"]).is_err());
    }
}
