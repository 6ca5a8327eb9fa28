//! What was measured, as a table for people and for documents.

use std::fmt;

use comfy_table::{Table, presets::ASCII_MARKDOWN};

/// Rows of figures.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<[String; 3]>,
}

impl Report {
    /// Adds a figure, and what it is to be compared with.
    pub(crate) fn add(&mut self, what: &str, figure: impl Into<String>, compared: impl Into<String>) {
        self.rows.push([what.to_owned(), figure.into(), compared.into()]);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_header(["what", "figure", "compared"]);
        table.add_rows(self.rows.iter());
        table.fmt(f)
    }
}

/// A rate with separators between thousands.
pub(crate) fn per_second(count: u64, seconds: f64) -> String {
    format!("{}/s", thousands((count as f64 / seconds) as u64))
}

/// A number with separators between thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
