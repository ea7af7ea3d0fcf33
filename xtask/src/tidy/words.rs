//! Words that must not be committed: unfinished work, paths of one machine, and how the text was produced.

use super::{Fault, File};

/// Anywhere. Written in two halves so that this file may contain them.
const TEXT: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/home", "/user"), "a path of one machine"),
    (concat!("Co-Authored", "-By"), "no signatures in files"),
    (concat!("Generated ", "with"), "describe the content, not how it was produced"),
];

/// Whole words, case-sensitive.
const WORDS: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "finish it, or say in the limits that it does not exist"),
    (concat!("FIX", "ME"), "finish it, or say in the limits that it does not exist"),
    (concat!("XX", "X"), "finish it, or say in the limits that it does not exist"),
    (concat!("HA", "CK"), "give the reason instead"),
];

/// Whole words in any case.
const ANY_CASE: &[(&str, &str)] = &[
    (concat!("cla", "ude"), "no names of tools or their makers"),
    (concat!("anth", "ropic"), "no names of tools or their makers"),
    (concat!("chat", "gpt"), "no names of tools or their makers"),
    (concat!("copi", "lot"), "no names of tools or their makers"),
];

/// In Rust code only.
const CODE: &[(&str, &str)] = &[
    (concat!("todo", "!("), "no stubs"),
    (concat!("unimplemented", "!("), "no stubs"),
    (concat!("#[ign", "ore"), "no disabled tests"),
    (concat!("allow(dead", "_code)"), "remove unused code"),
];

pub(super) fn check(file: &File) -> Vec<Fault> {
    // The lock files are generated, and licences are not ours.
    let name = file.path.rsplit('/').next().unwrap_or(&file.path);
    if ["Cargo.lock", "package-lock.json"].contains(&name) || name.starts_with("LICENSE") {
        return Vec::new();
    }
    let rust = name.rsplit('.').next() == Some("rs");
    let mut faults = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let lower = line.to_lowercase();
        let found = TEXT
            .iter()
            .filter(|(word, _)| line.contains(word))
            .chain(WORDS.iter().filter(|(word, _)| whole(line, word)))
            .chain(ANY_CASE.iter().filter(|(word, _)| whole(&lower, word)))
            .chain(CODE.iter().filter(|(word, _)| rust && line.contains(word)));
        faults.extend(found.map(|(word, why)| Fault::at(&file.path, number + 1, format!("`{word}`: {why}"))));
        if numbered_issue(&lower) {
            faults.push(Fault::at(&file.path, number + 1, "an issue number: give the reason itself"));
        }
    }
    faults
}

fn whole(line: &str, word: &str) -> bool {
    let grown = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(grown)
            && !line[at + word.len()..].chars().next().is_some_and(grown)
    })
}

/// `issue` followed by a number: useless to a reader who only has the tree.
fn numbered_issue(lower: &str) -> bool {
    lower.match_indices("issue ").any(|(at, _)| {
        let rest = lower[at + 6..].trim_start_matches('#');
        rest.starts_with(|c: char| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn unfinished_work_and_machine_paths_are_found() {
        let later = concat!("// TO", "DO: later");
        assert_eq!(check(&file("a.rs", later)).len(), 1);
        assert_eq!(check(&file("a.md", concat!("see /wo", "rk/x"))).len(), 1);
        assert_eq!(check(&file("a.rs", concat!("todo", "!()"))).len(), 1);
        assert_eq!(check(&file("a.md", concat!("as in iss", "ue #7"))).len(), 1);
    }

    #[test]
    fn words_that_only_contain_a_forbidden_one_are_accepted() {
        assert!(
            check(&file("a.md", "METODO todos CAxxxxxxxx, an issue of taste, framework/thing")).is_empty()
        );
        assert!(check(&file("Cargo.lock", concat!("TO", "DO"))).is_empty());
    }
}
