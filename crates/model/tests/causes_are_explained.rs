//! The how-to about failed calls explains every cause, in both languages.

use std::collections::BTreeSet;

use centralita_model::Cause;

/// The codes in the first column of the page's table, without its header.
fn explained(page: &str) -> BTreeSet<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once("` |"))
        .map(|(code, _)| code)
        .filter(|code| *code != "endReason")
        .collect()
}

#[test]
fn every_cause_is_explained_and_nothing_else() {
    let codes: BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.code()).collect();
    let pages = [
        include_str!("../../../docs/how-to/find-out-why-a-call-failed.md"),
        include_str!("../../../docs/es/find-out-why-a-call-failed.md"),
    ];
    for page in pages {
        let explained = explained(page);
        let missing: Vec<_> = codes.difference(&explained).collect();
        let unknown: Vec<_> = explained.difference(&codes).collect();
        assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}, unknown: {unknown:?}");
    }
}
