//! Printing: columns for people, JSON for programs.

use std::io::{self, Write};

use serde_json::Value;

use super::{Output, Shared};
use crate::lang;

/// One column: its title in English and in Spanish, and where its value lies in a row.
pub(super) type Column = (&'static str, &'static str, &'static str);

/// The title in the language that is spoken.
fn title(column: &Column) -> &'static str {
    lang::current().pick(column.0, column.1)
}

/// A heading above a table, for people only.
pub(super) fn heading(shared: &Shared, text: &str) {
    if matches!(shared.output, Output::Table) {
        put(&format!("\n{text}"));
    }
}

/// Print one thing: `value` for programs, `text` for people.
pub(super) fn say(shared: &Shared, value: &Value, text: &str) {
    match shared.output {
        Output::Json => put(&pretty(value)),
        Output::Table => put(text),
    }
}

/// Print rows.
pub(super) fn rows(shared: &Shared, rows: &[Value], columns: &[Column]) {
    match shared.output {
        Output::Json => put(&pretty(&Value::Array(rows.to_vec()))),
        Output::Table => put(&table(rows, columns)),
    }
}

/// Print the fields of one thing, one on a line.
pub(super) fn fields(shared: &Shared, value: &Value, columns: &[Column]) {
    match shared.output {
        Output::Json => put(&pretty(value)),
        Output::Table => put(&field_lines(value, columns)),
    }
}

fn field_lines(value: &Value, columns: &[Column]) -> String {
    let width = columns.iter().map(|column| title(column).chars().count()).max().unwrap_or(0);
    let line = |column: &Column| format!("{:width$}  {}", title(column), cell(value, column.2));
    columns.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Who closes the pipe (`| head`) has read enough.
pub(super) fn put(text: &str) {
    try_put(text).ok();
}

fn try_put(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{}", text.trim_end_matches('\n'))?;
    out.flush()
}

/// Print what is shown once and never again: the caller must know whether anybody can have seen it.
pub(super) fn say_once(shared: &Shared, value: &Value, text: &str) -> io::Result<()> {
    match shared.output {
        Output::Json => try_put(&pretty(value)),
        Output::Table => try_put(text),
    }
}

/// [`rows`], of what is shown once.
pub(super) fn rows_once(shared: &Shared, rows: &[Value], columns: &[Column]) -> io::Result<()> {
    say_once(shared, &Value::Array(rows.to_vec()), &table(rows, columns))
}

/// [`fields`], of what is shown once.
pub(super) fn fields_once(shared: &Shared, value: &Value, columns: &[Column]) -> io::Result<()> {
    say_once(shared, value, &field_lines(value, columns))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn table(rows: &[Value], columns: &[Column]) -> String {
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|column| title(column).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| cell(row, column.2)).collect()));
    let widths: Vec<usize> = (0..columns.len())
        .map(|n| {
            lines.iter().filter_map(|line| line.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let padded = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    padded.collect::<Vec<_>>().join("\n")
}

/// The value at a path like `sipCredentials.username`, without characters that would move a terminal's cursor.
fn cell(row: &Value, path: &str) -> String {
    let value = path.split('.').filter(|name| !name.is_empty()).fold(row, |value, name| &value[name]);
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(|item| cell(item, "")).collect::<Vec<_>>().join(","),
        Value::Bool(true) => lang::current().pick("yes", "sí").to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_nothing_moves_the_cursor() {
        let rows = [serde_json::json!({"a": {"b": "x\u{1b}[2J"}, "n": 1}), serde_json::json!({"n": [2, 3]})];
        assert_eq!(
            table(&rows, &[("NAME", "NOMBRE", "a.b"), ("N", "N", "n")]),
            "NAME   N\nx\u{fffd}[2J  1\n-      2,3"
        );
    }
}
