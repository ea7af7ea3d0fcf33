//! A `.env` beside the configuration file, read by `dotenvy`; a line that is none is named.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;

use super::layers::is_ours;
use super::{Origin, Problem};
use crate::tr;

/// The variables of a `.env`, with the line on which each ends. The process's own environment is not touched.
pub(super) fn read(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<(String, String, Origin)> {
    // Editors of Windows begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // dotenvy takes spaces at the end of a last line without an end for a value that goes on.
    let text = &format!("{text}\n");
    let line = Cell::new(0);
    let mut refuse = |line: usize, what: String| {
        let origin = Origin::File { path: path.to_path_buf(), line };
        problems.push(Problem { origin, key: String::new(), what });
    };
    let mut variables = Vec::new();
    for item in dotenvy::from_read_iter(Lines { rest: text.as_bytes(), delivered: &line }) {
        match item {
            Ok((name, value)) => {
                // `$` would be replaced by another variable, and a password that holds one would be another password.
                let raw = text.lines().nth(line.get() - 1).unwrap_or_default();
                if is_ours(&name) && substitutes(raw) {
                    refuse(
                        line.get(),
                        tr!(
                            "{name}: a $ stands for another variable here; write the value in single quotes, {name}='…'",
                            "{name}: aquí un $ nombra otra variable; escriba el valor entre comillas simples, {name}='…'"
                        ),
                    );
                    continue;
                }
                let origin = Origin::File { path: path.to_path_buf(), line: line.get() };
                variables.push((name, value, origin));
            }
            // The text of the line is not shown: it may hold a password.
            Err(dotenvy::Error::LineParse(failed, _)) => {
                let open = failed.lines().count().saturating_sub(1);
                let what = if open > 0 {
                    tr!(
                        "a quote is opened here and never closed",
                        "aquí se abre una comilla que no se cierra nunca"
                    )
                } else {
                    tr!(
                        "a line is NAME=value, with quotes around a value that holds spaces: NAME=\"a b\"",
                        "una línea es NOMBRE=valor, entre comillas si el valor lleva espacios: NOMBRE=\"a b\""
                    )
                };
                refuse(line.get().saturating_sub(open), what);
            }
            Err(error) => {
                refuse(line.get(), error.to_string());
                break;
            }
        }
    }
    variables
}

/// Whether a line holds a `$` that is neither escaped nor within single quotes.
fn substitutes(line: &str) -> bool {
    let (mut single, mut double, mut escaped) = (false, false, false);
    for c in line.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if !single => escaped = true,
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            '$' if !single => return true,
            _ => {}
        }
    }
    false
}

/// Hands out one line at a time, so that the reader behind a buffer is never ahead of the line that is being parsed.
struct Lines<'a> {
    rest: &'a [u8],
    delivered: &'a Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let line = end.unwrap_or(self.rest.len());
        let taken = line.min(buffer.len());
        let (now, rest) = self.rest.split_at(taken);
        buffer[..taken].copy_from_slice(now);
        self.rest = rest;
        if taken == line && taken > 0 {
            self.delivered.set(self.delivered.get() + 1);
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let mut problems = Vec::new();
        let lines = read(Path::new(".env"), text, &mut problems);
        let read = lines.into_iter().map(|(name, value, _)| (name, value)).collect();
        (read, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_dotenv_is_read_as_shells_do_and_each_wrong_line_is_named() {
        let text = "\u{feff}export A=1\r\n# c\nB=\"x # y\"\nC='q'  # why\nD=plain # don't\n\nnonsense\nE=a b\nF=\"two\nlines\"\nG=7 ";
        let (read, problems) = told(text);
        let expected =
            [("A", "1"), ("B", "x # y"), ("C", "q"), ("D", "plain"), ("F", "two\nlines"), ("G", "7")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let places: Vec<&str> = problems.iter().map(|problem| &problem[..7]).collect();
        assert_eq!(places, [".env:7:", ".env:8:"], "{problems:?}");
    }

    #[test]
    fn an_open_quote_is_named_where_it_was_opened_and_a_secret_is_not_shown() {
        let (_, problems) = told("A=1\nTWILIO_SIP_PASSWORD=\"hidden\nB=2\nC=3\n");
        assert_eq!(problems, [".env:2: a quote is opened here and never closed"]);
    }

    #[test]
    fn a_dollar_in_a_password_is_refused_before_it_becomes_another_password() {
        for line in ["TWILIO_SIP_PASSWORD=pa$word", "TWILIO_SIP_PASSWORD=\"pa${word}\""] {
            let (read, problems) = told(line);
            assert!(read.is_empty() && problems[0].contains("single quotes"), "{line}: {problems:?}");
            assert!(!problems[0].contains("pa$"), "{problems:?}");
        }
        let (read, problems) = told("TWILIO_SIP_PASSWORD='pa$word'\nELSE=$HOME/x\nTWILIO_SIP_USER=a\\$b\n");
        assert_eq!((read[0].1.as_str(), read[2].1.as_str()), ("pa$word", "a$b"));
        assert!(problems.is_empty(), "{problems:?}");
    }
}
