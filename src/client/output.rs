//! What goes to stdout (data) and to stderr (everything else), in every format.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ColumnConstraint, Table, Width, presets};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    failure::Failure,
    progress,
    text::{self, Clock, cut},
};

/// The characters of a name or message that a person is shown in a table.
const CELL: usize = 60;

/// How a command prints its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For people, with more columns where there are more
    Wide,
    /// One JSON value, with the fields of the API
    Json,
    /// JSON, each thing in a line of its own
    Jsonl,
    /// `job/ID`, one in a line, which every command takes as an ID
    Name,
}

impl Format {
    /// Whether it is for programs that read JSON.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }

    /// One thing as JSON: to be read by people as well, or in one line.
    pub fn json(self, value: &Value) -> String {
        text::json(value, self == Self::Json)
    }

    /// Several things as JSON: one array, or a line for each. Nothing where it is not for programs.
    pub fn print_all(self, values: Vec<Value>) -> Result<(), Failure> {
        match self {
            Self::Json => print(&text::json(&Value::Array(values), true)),
            Self::Jsonl => values.iter().try_for_each(|it| print(&text::json(it, false))),
            Self::Table | Self::Wide | Self::Name => Ok(()),
        }
    }
}

/// Writes a line to stdout, at once.
pub fn print(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Failure::Stdout)
}

/// Writes to stdout what other text will go on from.
pub fn print_part(text: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(Failure::Stdout)
}

/// Writes a line to stderr. Where that fails there is nobody left to tell.
pub fn note(line: &str) {
    progress::clear();
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Whether a person is looking at stdout.
pub fn is_watched() -> bool {
    std::io::stdout().is_terminal()
}

/// `text` for a table: for people only as much as leaves room for the rest of it.
pub fn cell(text: &str) -> String {
    if is_watched() { cut(text, CELL) } else { text.to_owned() }
}

/// How times are told on this stdout.
pub fn clock() -> Clock {
    if is_watched() { Clock::Ago { now: Timestamp::now() } } else { Clock::Utc }
}

/// A table that comes page by page, and whose columns stay where they were.
pub struct Paged {
    header: Vec<&'static str>,
    widths: Vec<u16>,
    is_begun: bool,
}

impl Paged {
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), widths: Vec::new(), is_begun: false }
    }

    /// The next rows as text; the first time with the header.
    pub fn page(&mut self, rows: Vec<Vec<String>>) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if !self.is_begun {
            table.set_header(self.header.clone());
        }
        table.add_rows(rows);
        for (column, width) in table.column_iter_mut().zip(&self.widths) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for (index, width) in table.column_max_content_widths().into_iter().enumerate() {
            let padded = width.saturating_add(2);
            match self.widths.get_mut(index) {
                Some(before) => *before = padded.max(*before),
                None => self.widths.push(padded),
            }
        }
        self.is_begun = true;
        table.lines().map(|it| it.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_in_place_from_page_to_page() {
        let mut table = Paged::new(&["ID", "NAME"]);
        let row = |id: &str, name: &str| vec![vec![id.to_owned(), name.to_owned()]];
        assert_eq!(table.page(row("12345", "a")), "ID     NAME\n12345  a");
        assert_eq!(table.page(row("1", "名前")), "1      名前");
        assert_eq!(table.page(Vec::new()), "");
    }
}
