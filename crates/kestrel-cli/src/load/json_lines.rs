//! Lines of JSON objects.

use crate::entry_object::{entry_of, parse_fields, text_of};
use crate::load::key_fields::KeyFields;
use crate::load::record::Record;

/// Takes a line without its end apart; says in words why it cannot. With `keys` the value is the line itself.
pub(crate) fn parse(line: &[u8], keys: Option<&KeyFields>, record: &mut Record) -> Result<(), String> {
    let fields = parse_fields(line)?;
    let Some(keys) = keys else {
        (record.key, record.value) = entry_of(&fields)?;
        return Ok(());
    };
    keys.join(&mut record.key, |name| {
        let field = fields.get(name).ok_or_else(|| format!("there is no field {name:?}"))?;
        text_of(name, field)
    })?;
    record.value.clear();
    record.value.extend_from_slice(line);
    Ok(())
}
