//! Every Rust file starts with a `//!` sentence; and helpers that separate code from comments and tests.

use super::{Fault, File};

pub(super) fn check(file: &File) -> Vec<Fault> {
    if file.path.rsplit('.').next() != Some("rs") {
        return Vec::new();
    }
    // Attributes and a shebang may precede it.
    let head = file.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    match head {
        Some(line) if line.starts_with("//! ") => Vec::new(),
        _ => vec![Fault::at(&file.path, 1, "does not start with a `//!` sentence")],
    }
}

/// The code alone: comments and literals are replaced by spaces, line breaks are kept.
pub(super) fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' | b'b' if at == 0 || !is_word(bytes[at - 1]) => raw_string_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The part of a file above its test module.
pub(super) fn above_tests(text: &str) -> &str {
    let mut from = 0;
    while let Some(found) = text[from..].find("\n#[cfg(test)]") {
        let at = from + found;
        let after = text[at + 1..].lines().nth(1).unwrap_or_default();
        if after.starts_with("mod ") || after.starts_with("#[") {
            return &text[..=at];
        }
        from = at + 1;
    }
    text
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |n| at + n)
}

/// Block comments nest.
fn comment_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut at) = (0, at);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut open = at;
    if bytes[open] == b'b' {
        open += 1;
    }
    if bytes.get(open) != Some(&b'r') {
        return None;
    }
    open += 1;
    let hashes = bytes[open..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(open + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = open + hashes + 1;
    let found = bytes[body..].windows(close.len()).position(|window| window == close.as_slice());
    Some(found.map_or(bytes.len(), |n| body + n + close.len()))
}

/// A lifetime starts like a character literal, but has no closing quote after one character.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let close = bytes[at + 3..].iter().take(12).position(|byte| *byte == b'\'')?;
        return Some(at + 3 + close + 1);
    }
    let text = std::str::from_utf8(&bytes[at + 1..(at + 5).min(bytes.len())]);
    let width = match text {
        Ok(text) => text.chars().next()?.len_utf8(),
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&bytes[at + 1..=at + error.valid_up_to()]).ok()?.chars().next()?.len_utf8()
        }
        Err(_) => return None,
    };
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + 2 + width)
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_file_starts_with_a_module_doc() {
        assert!(check(&file("a.rs", "//! Adds.\nfn f() {}")).is_empty());
        assert!(check(&file("a.rs", "#![no_main]\n//! Adds.\n")).is_empty());
        assert_eq!(check(&file("a.rs", "fn f() {}")).len(), 1);
        assert_eq!(check(&file("a.rs", "")).len(), 1);
        assert!(check(&file("a.md", "text")).is_empty());
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let code = code_of(
            "a // tokio\n/* tokio /* tokio */ */ b \"tokio \\\" tokio\" c r#\"tokio \" \"# '\"' d 'x e",
        );
        assert!(!code.contains("tokio"));
        for word in ["a ", " b ", " c ", " d ", " e"] {
            assert!(code.contains(word), "{word:?} in {code:?}");
        }
    }

    #[test]
    fn the_tests_below_are_cut_off() {
        assert_eq!(above_tests("a\n#[cfg(test)]\nmod tests {\nb\n}"), "a\n");
        assert_eq!(
            above_tests("a\n#[cfg(test)]\nfn only_here() {}\nb"),
            "a\n#[cfg(test)]\nfn only_here() {}\nb"
        );
    }
}
