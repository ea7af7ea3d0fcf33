//! Links in pages point to existing files, folders and headings.

use std::collections::{BTreeMap, BTreeSet};

use super::pages::{self, is_page};
use super::{Fault, File};

/// `paths`: all files of the tree, including binary ones.
pub(super) fn check(files: &[File], paths: &[String]) -> Vec<Fault> {
    let paths: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
    let pages: Vec<&File> = files.iter().filter(|file| is_page(&file.path)).collect();
    let headings: BTreeMap<&str, BTreeSet<String>> =
        pages.iter().map(|page| (page.path.as_str(), anchors(&page.text))).collect();
    let mut faults = Vec::new();
    for page in &pages {
        for (line, target) in links(&page.text) {
            if let Some(fault) = broken(&page.path, &target, &paths, &headings) {
                faults.push(Fault::at(&page.path, line, fault));
            }
        }
    }
    faults
}

fn broken(
    page: &str,
    target: &str,
    paths: &BTreeSet<&str>,
    headings: &BTreeMap<&str, BTreeSet<String>>,
) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let Some(path) = resolve(page, file) else { return Some(format!("{target} leads out of the tree")) };
    let folder = path.is_empty() || paths.iter().any(|known| known.starts_with(&format!("{path}/")));
    if !folder && !paths.contains(path.as_str()) {
        return Some(format!("links to {target}, and there is no {path}"));
    }
    match (anchor, headings.get(path.as_str())) {
        (Some(anchor), Some(headings)) if !headings.contains(anchor) => {
            Some(format!("links to {target}, and {path} has no such heading"))
        }
        (Some(_) | None, _) => None,
    }
}

/// A path relative to the root of the tree; `None` if it lies outside.
fn resolve(page: &str, target: &str) -> Option<String> {
    if target.is_empty() {
        return Some(page.to_owned());
    }
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => page.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Targets of `[text](target)` outside of code, with their line numbers.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in pages::prose(text) {
        let line = without_code(line);
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            if let Some(end) = rest.find(')') {
                let target = rest[..end].split(' ').next().unwrap_or_default();
                found.push((number, target.to_owned()));
            }
        }
    }
    found
}

/// A line without its code spans.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("")
}

/// Heading anchors as GitHub makes them: lower case, spaces become dashes, other punctuation is removed, and a number is appended to a repeated
/// name.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, line) in pages::prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let signs = |c: char| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        };
        let name: String = title.trim().to_lowercase().chars().filter_map(signs).collect();
        let repeated = (1..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(repeated).find(|name| !found.contains(name));
        found.extend(free);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn faults(text: &str) -> usize {
        let files =
            [file("docs/how-to/a.md", text), file("docs/b.md", "# B\n## Two words, `x`\n## Two words x\n")];
        let paths = ["docs/how-to/a.md", "docs/b.md", "docs/picture.png"].map(str::to_owned);
        check(&files, &paths).len()
    }

    #[test]
    fn a_link_needs_its_file_or_folder() {
        assert_eq!(
            faults("[x](../b.md) [y](..) [z](../picture.png) [w](https://example.com/x) [v](/docs/b.md)"),
            0
        );
        assert_eq!(faults("[x](b.md)"), 1);
        assert_eq!(faults("[x](../c.md) and [y](../../../b.md)"), 2);
    }

    #[test]
    fn an_anchor_needs_its_heading() {
        assert_eq!(faults("# Here\n[x](#here) [y](../b.md#two-words-x) [z](../b.md#two-words-x-1)"), 0);
        assert_eq!(faults("# Here\n[x](#there) [y](../b.md#three)"), 2);
    }

    #[test]
    fn code_links_nowhere() {
        assert_eq!(faults("`a[x](y)`\n```sh\n# Not a heading\n[x](nowhere.md)\n```\n"), 0);
        assert_eq!(faults("```sh\n# Not a heading\n```\n[x](#not-a-heading)"), 1);
    }
}
