//! Every input in `docs/field-cases.md` names an existing test, or says what is missing.

use super::{Fault, File, seeds};

const PAGE: &str = "docs/field-cases.md";

pub(super) fn check(files: &[File]) -> Vec<Fault> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return vec![Fault::of(PAGE, "does not exist")];
    };
    let mut faults = Vec::new();
    for (number, line) in page.text.lines().enumerate() {
        let cells: Vec<&str> = line.trim_end_matches(" |").split(" | ").collect();
        let is_row = line.starts_with("| ") && cells[0].bytes().any(|byte| byte.is_ascii_digit());
        if !is_row {
            continue;
        }
        let tests: Vec<&str> =
            cells.last().map_or_else(Vec::new, |cell| cell.split('`').skip(1).step_by(2).collect());
        if tests.is_empty() && !line.contains("not yet") {
            faults.push(Fault::at(PAGE, number + 1, "neither a test nor `not yet:`"));
        }
        for test in tests.iter().filter(|test| !seeds::exists(files, test)) {
            faults.push(Fault::at(PAGE, number + 1, format!("there is no test {test}")));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_row_names_a_test_that_exists_or_says_what_is_missing() {
        let page = |row: &str| {
            vec![
                file(PAGE, &format!("| # | input | right | test |\n|---|---|---|---|\n{row}")),
                file("a/tests/b.rs", "#[test]\nfn it_holds() {}"),
            ]
        };
        assert!(check(&page("| F1 | `a` | b | `a/tests/b.rs::it_holds` |")).is_empty());
        assert!(check(&page("| F1 | a | b | not yet: it |")).is_empty());
        assert_eq!(check(&page("| F1 | a | b | `a/tests/b.rs::it_falls` |")).len(), 1);
        assert_eq!(check(&page("| F1 | a | b | – |")).len(), 1);
        assert_eq!(check(&[]).len(), 1);
    }
}
