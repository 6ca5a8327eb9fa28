//! Tables of text.

use std::io::{self, Write};

/// Rows of cells in columns as wide as their widest cell, with two spaces between them and none at the end of
/// a line.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// By column; the others are aligned left.
    aligned_right: &'static [usize],
}

impl Table {
    /// An empty table; `aligned_right` are the columns of figures.
    pub(crate) fn new(aligned_right: &'static [usize]) -> Table {
        Table { rows: Vec::new(), aligned_right }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Writes the table.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| chars(cell)).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - chars(cell));
                let (before, behind) = if self.aligned_right.contains(&column) {
                    (padding, String::new())
                } else {
                    (String::new(), padding)
                };
                line.push_str(if column == 0 { "" } else { "  " });
                line.extend([before.as_str(), cell, &behind]);
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn chars(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[1]);
        table.row(["a".to_owned(), "1".to_owned(), "first".to_owned()]);
        table.row(["größer".to_owned(), "1000".to_owned(), "2nd".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a          1  first\ngrößer  1000  2nd\n");
    }
}
