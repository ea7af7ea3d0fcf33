//! Printing: columns for people, JSON for programs.

use std::io::{self, Write};

use serde_json::Value;

use super::{Output, Shared};
use crate::lang;

/// A column: English title, Spanish title, and the path of its value in a row.
pub(super) type Column = (&'static str, &'static str, &'static str);

/// The title in the current language.
fn title(column: &Column) -> &'static str {
    lang::current().pick(column.0, column.1)
}

/// Print a heading above a table, in table output only.
pub(super) fn heading(shared: &Shared, text: &str) {
    if matches!(shared.output, Output::Table) {
        print(&format!("\n{text}"));
    }
}

/// Print `value` as JSON, or `text` in table output.
pub(super) fn say(shared: &Shared, value: &Value, text: &str) {
    match shared.output {
        Output::Json => print(&pretty(value)),
        Output::Table => print(text),
    }
}

/// Print rows.
pub(super) fn rows(shared: &Shared, rows: &[Value], columns: &[Column]) {
    match shared.output {
        Output::Json => print(&pretty(&Value::Array(rows.to_vec()))),
        Output::Table => print(&table(rows, columns)),
    }
}

/// Print the fields of one object, one per line.
pub(super) fn fields(shared: &Shared, value: &Value, columns: &[Column]) {
    match shared.output {
        Output::Json => print(&pretty(value)),
        Output::Table => print(&field_lines(value, columns)),
    }
}

fn field_lines(value: &Value, columns: &[Column]) -> String {
    let width = columns.iter().map(|column| title(column).chars().count()).max().unwrap_or(0);
    let line = |column: &Column| format!("{:width$}  {}", title(column), cell(value, column.2));
    columns.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Print, ignoring a closed pipe (`| head`).
pub(super) fn print(text: &str) {
    try_print(text).ok();
}

fn try_print(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{}", text.trim_end_matches('\n'))?;
    out.flush()
}

/// Print a secret that cannot be shown again; an error tells the caller that it may not have been seen.
pub(super) fn say_once(shared: &Shared, value: &Value, text: &str) -> io::Result<()> {
    match shared.output {
        Output::Json => try_print(&pretty(value)),
        Output::Table => try_print(text),
    }
}

/// [`rows`] with the error, as [`say_once`].
pub(super) fn rows_once(shared: &Shared, rows: &[Value], columns: &[Column]) -> io::Result<()> {
    say_once(shared, &Value::Array(rows.to_vec()), &table(rows, columns))
}

/// [`fields`] with the error, as [`say_once`].
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

/// The value at a path like `sipCredentials.username`, with control characters replaced.
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
