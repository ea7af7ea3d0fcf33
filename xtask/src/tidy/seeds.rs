//! Every requirement has a row in `docs/seeds.md`, with an existing test or with `not yet:`.

use super::{Fault, File};

const PAGE: &str = "docs/seeds.md";
/// The requirements are S1 to this one.
const ROWS: usize = 194;

pub(super) fn check(files: &[File]) -> Vec<Fault> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return vec![Fault::of(PAGE, "does not exist")];
    };
    let mut faults = Vec::new();
    let mut next = 1;
    for (number, line) in page.text.lines().enumerate() {
        let mut fault = |message: String| faults.push(Fault::at(PAGE, number + 1, message));
        let Some(rest) = line.strip_prefix("| S") else { continue };
        let mut cells = rest.split(" | ");
        let row = cells.next().and_then(|cell| cell.trim().parse::<usize>().ok());
        if row != Some(next) {
            fault(format!("S{next} was expected here"));
        }
        next = row.unwrap_or(next) + 1;
        let tests: Vec<&str> = cells.next().unwrap_or_default().split('`').skip(1).step_by(2).collect();
        if tests.is_empty() && !line.contains("not yet") {
            fault("neither a test nor `not yet:`".to_owned());
        }
        for test in tests {
            if !exists(files, test) {
                fault(format!("there is no test {test}"));
            }
        }
    }
    if next != ROWS + 1 {
        faults.push(Fault::of(PAGE, format!("ends before S{ROWS}")));
    }
    faults
}

/// Whether a test exists, e.g. `crates/sip/tests/uri.rs::no_bytes_make_a_uri_panic`.
pub(super) fn exists(files: &[File], test: &str) -> bool {
    let Some((path, name)) = test.split_once("::") else { return false };
    files.iter().any(|file| file.path == path && file.text.contains(&format!("fn {name}(")))
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn page(first_row: &str) -> Vec<File> {
        let rows: Vec<String> = (2..=ROWS).map(|n| format!("| S{n} | – | not yet: it |")).collect();
        vec![
            file(PAGE, &format!("{first_row}\n{}", rows.join("\n"))),
            file("a/tests/b.rs", "#[test]\nfn it_holds() {}"),
        ]
    }

    #[test]
    fn a_row_names_a_test_that_exists_or_says_what_is_missing() {
        assert!(check(&page("| S1 | `a/tests/b.rs::it_holds` | |")).is_empty());
        assert!(check(&page("| S1 | – | not yet: it |")).is_empty());
        assert_eq!(check(&page("| S1 | `a/tests/b.rs::it_falls` | |")).len(), 1);
        assert_eq!(check(&page("| S1 | – | |")).len(), 1);
    }

    #[test]
    fn no_row_is_left_out() {
        assert!(!check(&page("")).is_empty());
        assert!(!check(&[]).is_empty());
    }
}
