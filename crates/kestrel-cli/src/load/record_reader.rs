//! Records of the input, whatever its format.

use crate::failure::Outcome;
use crate::load::key_fields::KeyFields;
use crate::load::lines::Lines;
use crate::load::record::Record;
use crate::load::{json_lines, paragraphs, tsv};

/// What the input looks like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// Lines of key, tab, value.
    Tsv {
        /// Whether a carriage return before the line feed is part of the line's end.
        crlf: bool,
    },
    /// Lines of JSON objects.
    JsonLines {
        /// The fields of the key; without them the objects are entries.
        keys: Option<KeyFields>,
    },
    /// Stanzas of `Field: value` lines.
    Paragraphs {
        /// The fields of the key.
        keys: KeyFields,
    },
}

/// What was read.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Read {
    /// An entry.
    Entry,
    /// Something that is none, and why. The next record can be read.
    Bad(String),
    /// The end of the input.
    End,
}

/// Reads records one after the other.
pub(crate) struct RecordReader {
    lines: Lines,
    format: Format,
    line: Vec<u8>,
    /// Of the record that was read last, its first line's.
    line_number: u64,
}

impl RecordReader {
    /// Reads the records of a format from lines.
    pub(crate) fn new(lines: Lines, format: Format) -> RecordReader {
        RecordReader { lines, format, line: Vec::new(), line_number: 0 }
    }

    /// Reads the next record into `record`, whose content means something after [`Read::Entry`] only.
    pub(crate) fn next(&mut self, record: &mut Record) -> Outcome<Read> {
        let parsed = match &self.format {
            Format::Tsv { crlf } => {
                self.line.clear();
                if !self.lines.append_next(&mut self.line)? {
                    return Ok(Read::End);
                }
                self.line_number = self.lines.number();
                let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
                let line = if *crlf { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
                tsv::parse(line, record)
            }
            Format::JsonLines { keys } => {
                self.line.clear();
                while self.line.trim_ascii().is_empty() {
                    self.line.clear();
                    if !self.lines.append_next(&mut self.line)? {
                        return Ok(Read::End);
                    }
                }
                self.line_number = self.lines.number();
                let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
                // Around an object it is white space.
                json_lines::parse(line.strip_suffix(b"\r").unwrap_or(line), keys.as_ref(), record)
            }
            Format::Paragraphs { keys } => {
                if !read_stanza(&mut self.lines, &mut record.value, &mut self.line_number)? {
                    return Ok(Read::End);
                }
                paragraphs::parse(keys, record)
            }
        };
        Ok(match parsed {
            Ok(()) => Read::Entry,
            Err(why) => Read::Bad(why),
        })
    }

    /// The number of the first line of the record that was read last.
    pub(crate) fn line_number(&self) -> u64 {
        self.line_number
    }

    /// The input.
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }
}

/// Reads lines up to the next separator that stands behind one that is none; returns whether there was any.
fn read_stanza(lines: &mut Lines, stanza: &mut Vec<u8>, first_line: &mut u64) -> Outcome<bool> {
    stanza.clear();
    loop {
        let start = stanza.len();
        if !lines.append_next(stanza)? {
            return Ok(start > 0);
        }
        if paragraphs::is_separator(&stanza[start..]) {
            stanza.truncate(start);
            if start > 0 {
                return Ok(true);
            }
        } else if start == 0 {
            *first_line = lines.number();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(name: &str) -> Option<KeyFields> {
        KeyFields::new(vec![name.to_owned()], b" ".to_vec())
    }

    /// Entries as (line, key, value), bad records as (line, "", why).
    fn read(format: Format, text: &[u8]) -> Vec<(u64, String, String)> {
        let mut reader = RecordReader::new(Lines::of(text), format);
        let mut record = Record::default();
        let mut found = Vec::new();
        loop {
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            match reader.next(&mut record).unwrap() {
                Read::Entry => found.push((reader.line_number(), text(&record.key), text(&record.value))),
                Read::Bad(why) => found.push((reader.line_number(), String::new(), why)),
                Read::End => return found,
            }
        }
    }

    fn entry(line: u64, key: &str, value: &str) -> (u64, String, String) {
        (line, key.to_owned(), value.to_owned())
    }

    #[test]
    fn tsv_lines_are_taken_byte_for_byte() {
        let text = b"a\t1\n\tempty key\nempty value\t\nb\tx\ty\r\n\xff\t\x00\nlast\tno end";
        let expected = vec![
            entry(1, "a", "1"),
            entry(2, "", "empty key"),
            entry(3, "empty value", ""),
            entry(4, "b", r"x\ty\r"),
            entry(5, r"\xff", r"\x00"),
            entry(6, "last", "no end"),
        ];
        assert_eq!(read(Format::Tsv { crlf: false }, text), expected);
        let crlf = read(Format::Tsv { crlf: true }, b"a\t1\r\nb\t2\r\r\nc\t3\n");
        assert_eq!(crlf, [entry(1, "a", "1"), entry(2, "b", r"2\r"), entry(3, "c", "3")]);
        let bad = read(Format::Tsv { crlf: false }, b"a\t1\n\nno tab\nb\t2\n");
        assert_eq!(bad.iter().map(|(line, ..)| *line).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert!(bad[1].2.contains("no tab") && bad[2].2.contains("no tab"));
        assert!(read(Format::Tsv { crlf: false }, b"").is_empty());
    }

    #[test]
    fn json_lines_are_entries_or_values_as_a_whole() {
        let text = b"\n{\"key\":\"a\",\"value\":\"1\"}\r\n  \n{\"id\":7}\n";
        let plain = read(Format::JsonLines { keys: None }, text);
        assert_eq!(plain[0], entry(2, "a", "1"));
        assert_eq!((plain[1].0, plain.len()), (4, 2));
        let whole = read(Format::JsonLines { keys: keys("id") }, b"{ \"id\" : 7 }\r\n{\"id\":\"x\"}");
        assert_eq!(whole, [entry(1, "7", r#"{ \"id\" : 7 }"#), entry(2, "x", r#"{\"id\":\"x\"}"#)]);
    }

    #[test]
    fn stanzas_keep_their_bytes_and_lose_the_lines_between() {
        let text = b"\n\nP: a\nX: 1\n\n\r\n\nX: 2\n\nP: b\r\n c\r\n\r\nP: d";
        let found = read(Format::Paragraphs { keys: keys("P").unwrap() }, text);
        assert_eq!(found[0], entry(3, "a", r"P: a\nX: 1\n"));
        assert_eq!((found[1].0, found[1].2.contains("no field")), (8, true));
        assert_eq!((found[2].0, found[2].2.contains("several lines")), (10, true));
        assert_eq!(found[3], entry(13, "d", "P: d"));
        assert_eq!(found.len(), 4);
        assert!(read(Format::Paragraphs { keys: keys("P").unwrap() }, b"\n\n").is_empty());
    }
}
