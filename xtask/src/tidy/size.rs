//! A file has at most 700 lines.

use super::rust::above_tests;
use super::{Fault, File};

const MOST_LINES: usize = 700;

pub(super) fn check(file: &File) -> Vec<Fault> {
    let code = [".rs", ".ts", ".tsx", ".py", ".sh"].iter().any(|end| file.path.ends_with(end));
    if !code || is_test(&file.path) || is_generated(file) {
        return Vec::new();
    }
    let lines = above_tests(&file.text).lines().count();
    if lines <= MOST_LINES {
        return Vec::new();
    }
    vec![Fault::of(&file.path, format!("{lines} lines; at most {MOST_LINES} are allowed"))]
}

fn is_test(path: &str) -> bool {
    let stem = path.rsplit('/').next().unwrap_or(path);
    path.split('/').any(|part| part == "tests")
        || stem == "tests.rs"
        || stem.contains(".test.")
        || stem.contains(".spec.")
}

fn is_generated(file: &File) -> bool {
    file.path.split('/').any(|part| part == "generated")
        || file.path.starts_with("web/src/api/")
        || file.text.lines().take(5).any(|line| line.contains(concat!("@", "generated")))
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn only_a_long_file_that_is_neither_test_nor_generated_is_a_fault() {
        let long = "x\n".repeat(701);
        assert_eq!(check(&file("crates/sip/src/a.rs", &long)).len(), 1);
        assert!(check(&file("crates/sip/src/a.rs", &"x\n".repeat(700))).is_empty());
        assert!(check(&file("crates/sip/tests/a.rs", &long)).is_empty());
        assert!(check(&file("web/src/api/schema.ts", &long)).is_empty());
        let with_tests = format!("{}#[cfg(test)]\nmod tests {{\n{long}}}", "x\n".repeat(699));
        assert!(check(&file("crates/sip/src/a.rs", &with_tests)).is_empty());
    }
}
