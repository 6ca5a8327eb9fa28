//! Lines of key, tab, value.

use crate::load::record::Record;

/// Takes a line without its line feed apart; says in words why it cannot.
pub(crate) fn parse(line: &[u8], record: &mut Record) -> Result<(), String> {
    let Some(tab) = line.iter().position(|&byte| byte == b'\t') else {
        return Err("there is no tab between a key and a value".to_owned());
    };
    record.key.clear();
    record.key.extend_from_slice(&line[..tab]);
    record.value.clear();
    record.value.extend_from_slice(&line[tab + 1..]);
    Ok(())
}
