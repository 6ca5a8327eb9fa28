//! Hits from lines of text.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::hit::{Hit, PAGE_MAX, SITE_MAX, visitor_from_name};

/// Reads one line after the other.
pub struct Tsv {
    input: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    skipped: u64,
}

impl Tsv {
    /// Opens a file; `-` is the standard input.
    pub fn open(path: &Path) -> io::Result<Tsv> {
        let input: Box<dyn BufRead + Send> = if path.as_os_str() == "-" {
            Box::new(BufReader::new(io::stdin()))
        } else {
            Box::new(BufReader::new(File::open(path)?))
        };
        Ok(Tsv { input, line: Vec::new(), skipped: 0 })
    }

    /// Lines so far that were no hits.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next line that is a hit; `None` at the end.
    pub fn next(&mut self, number: u64) -> io::Result<Option<Hit>> {
        loop {
            self.line.clear();
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            match parse(self.line.trim_ascii_end(), number) {
                Some(hit) => return Ok(Some(hit)),
                None => self.skipped += 1,
            }
        }
    }
}

fn parse(line: &[u8], number: u64) -> Option<Hit> {
    let mut fields = line.split(|&byte| byte == b'\t');
    let time = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let site = key_part(fields.next()?, SITE_MAX);
    let visitor = fields.next()?;
    let visitor = match str::from_utf8(visitor).ok().and_then(|text| text.parse().ok()) {
        Some(number) => number,
        None => visitor_from_name(visitor),
    };
    let page = key_part(fields.next()?, PAGE_MAX);
    let referrer = fields.next().unwrap_or_default().to_vec();
    Some(Hit { number, time, visitor, site, page, referrer })
}

/// What of a text goes into a key.
fn key_part(text: &[u8], len_max: usize) -> Vec<u8> {
    text.iter().copied().filter(|&byte| byte != 0).take(len_max).collect()
}
