//! The `.env` file beside the configuration file, parsed by `dotenvy`; malformed lines are reported with their number.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;

use super::layers::is_ours;
use super::{Origin, Problem};
use crate::tr;

/// The variables of a `.env` file, each with its last line. The environment of the process is not changed.
pub(super) fn read(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<(String, String, Origin)> {
    // Windows editors start a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // dotenvy treats trailing spaces on a last line without newline as an unfinished value.
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
                // `$` would be substituted, which would silently change a password that contains one.
                let raw = text.lines().nth(line.get() - 1).unwrap_or_default();
                if is_ours(&name) && substitutes(raw) {
                    refuse(
                        line.get(),
                        tr!(
                            "{name}: $ is substituted by a variable here; write the value in single quotes, {name}='…'",
                            "{name}: el signo $ se interpreta como otra variable; escriba el valor entre comillas simples, {name}='…'"
                        ),
                    );
                    continue;
                }
                let origin = Origin::File { path: path.to_path_buf(), line: line.get() };
                variables.push((name, value, origin));
            }
            // The text of the line is not shown: it may contain a password.
            Err(dotenvy::Error::LineParse(failed, _)) => {
                let open = failed.lines().count().saturating_sub(1);
                let what = if open > 0 {
                    tr!("a quote is opened here and never closed", "falta cerrar la comilla que se abre aquí")
                } else {
                    tr!(
                        "write NAME=value, with quotes around a value that contains spaces: NAME=\"a b\"",
                        "escriba NOMBRE=valor, entre comillas si el valor contiene espacios: NOMBRE=\"a b\""
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

/// Whether a line contains a `$` that is neither escaped nor within single quotes.
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

/// Reader that delivers one line at a time, so that a buffer never reads ahead of the line that is being parsed.
struct Lines<'a> {
    rest: &'a [u8],
    delivered: &'a Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let line = end.unwrap_or(self.rest.len());
        let copied = line.min(buffer.len());
        let (now, rest) = self.rest.split_at(copied);
        buffer[..copied].copy_from_slice(now);
        self.rest = rest;
        if copied == line && copied > 0 {
            self.delivered.set(self.delivered.get() + 1);
        }
        Ok(copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let mut problems = Vec::new();
        let lines = read(Path::new(".env"), text, &mut problems);
        let read = lines.into_iter().map(|(name, value, _)| (name, value)).collect();
        (read, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_dotenv_is_read_as_shells_do_and_each_wrong_line_is_named() {
        let text = "\u{feff}export A=1\r\n# c\nB=\"x # y\"\nC='q'  # why\nD=plain # don't\n\nnonsense\nE=a b\nF=\"two\nlines\"\nG=7 ";
        let (read, problems) = parsed(text);
        let expected =
            [("A", "1"), ("B", "x # y"), ("C", "q"), ("D", "plain"), ("F", "two\nlines"), ("G", "7")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let places: Vec<&str> = problems.iter().map(|problem| &problem[..7]).collect();
        assert_eq!(places, [".env:7:", ".env:8:"], "{problems:?}");
    }

    #[test]
    fn an_open_quote_is_named_where_it_was_opened_and_a_secret_is_not_shown() {
        let (_, problems) = parsed("A=1\nTWILIO_SIP_PASSWORD=\"hidden\nB=2\nC=3\n");
        assert_eq!(problems, [".env:2: a quote is opened here and never closed"]);
    }

    #[test]
    fn a_dollar_in_a_password_is_refused_before_it_becomes_another_password() {
        for line in ["TWILIO_SIP_PASSWORD=pa$word", "TWILIO_SIP_PASSWORD=\"pa${word}\""] {
            let (read, problems) = parsed(line);
            assert!(read.is_empty() && problems[0].contains("single quotes"), "{line}: {problems:?}");
            assert!(!problems[0].contains("pa$"), "{problems:?}");
        }
        let (read, problems) = parsed("TWILIO_SIP_PASSWORD='pa$word'\nELSE=$HOME/x\nTWILIO_SIP_USER=a\\$b\n");
        assert_eq!((read[0].1.as_str(), read[2].1.as_str()), ("pa$word", "a$b"));
        assert!(problems.is_empty(), "{problems:?}");
    }
}
