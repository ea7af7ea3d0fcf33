//! Markdown pages: prose, code blocks, and the pair of each how-to page in the other language.

use super::{Fault, File};

/// Folder of the English how-to pages; the other one has their translations.
const ENGLISH: &str = "docs/how-to/";
const SPANISH: &str = "docs/es/";

/// A fenced code block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block<'t> {
    /// Line number of the opening fence.
    pub(super) line: usize,
    /// Info string of the opening fence.
    pub(super) info: &'t str,
    pub(super) lines: Vec<&'t str>,
}

pub(super) fn is_page(path: &str) -> bool {
    path.rsplit('.').next() == Some("md")
}

/// Lines outside of code blocks, with their numbers.
pub(super) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        (!code && !fence).then_some((number + 1, line))
    })
}

pub(super) fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut found: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open) {
            (Some(info), false) => {
                found.push(Block { line: number + 1, info: info.trim(), lines: Vec::new() });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => found.last_mut().into_iter().for_each(|block| block.lines.push(line.trim())),
            (None, false) => {}
        }
    }
    found
}

/// Each how-to page exists in both languages, the two link to each other, and their commands are equal.
pub(super) fn check(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for page in files.iter().filter(|file| is_page(&file.path)) {
        let (name, other, back) = match (page.path.strip_prefix(ENGLISH), page.path.strip_prefix(SPANISH)) {
            (Some(name), _) => (name, SPANISH, "../es/"),
            (_, Some(name)) => (name, ENGLISH, "../how-to/"),
            (None, None) => continue,
        };
        let pair = format!("{other}{name}");
        let Some(translation) = files.iter().find(|file| file.path == pair) else {
            faults.push(Fault::of(&page.path, format!("there is no {pair}")));
            continue;
        };
        if !page.text.contains(&format!("]({back}{name})")) {
            faults.push(Fault::of(&page.path, format!("does not link to {back}{name}")));
        }
        if other == SPANISH {
            faults.extend(differences(page, translation));
        }
    }
    faults
}

fn differences(page: &File, translation: &File) -> Option<Fault> {
    let (ours, theirs) = (blocks(&page.text), blocks(&translation.text));
    let differ = |(one, other): &(&Block<'_>, &Block<'_>)| {
        language(one) != language(other) || commands(one) != commands(other)
    };
    if let Some((one, other)) = ours.iter().zip(&theirs).find(differ) {
        let message = format!(
            "this block differs from the one in {}:{} in more than its comments",
            translation.path, other.line
        );
        return Some(Fault::at(&page.path, one.line, message));
    }
    let message = format!("has {} blocks of code, and {} has {}", ours.len(), translation.path, theirs.len());
    (ours.len() != theirs.len()).then(|| Fault::of(&page.path, message))
}

/// Info string of a block up to `:`. The reason after `no-test:` is prose and may differ.
fn language<'t>(block: &Block<'t>) -> &'t str {
    block.info.split(':').next().unwrap_or_default()
}

/// The commands of a block without comments. A comment starts at the beginning of a line or after a blank.
fn commands(block: &Block<'_>) -> Vec<String> {
    let sign = match block.info.split([' ', ':']).next().unwrap_or_default() {
        "sh" | "toml" | "python" | "ini" | "nginx" => "#",
        "js" => "//",
        _ => return block.lines.iter().map(|line| (*line).to_owned()).collect(),
    };
    let bare = |line: &&str| {
        let after_blank = format!(" {sign}");
        let end = if line.starts_with(sign) { Some(0) } else { line.find(&after_blank) };
        end.map_or(*line, |end| &line[..end]).trim_end().to_owned()
    };
    block.lines.iter().map(bare).filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn faults(english: &str, spanish: &str) -> usize {
        let english = format!("[es](../es/a.md)\n{english}");
        let spanish = format!("[en](../how-to/a.md)\n{spanish}");
        check(&[file("docs/how-to/a.md", &english), file("docs/es/a.md", &spanish)]).len()
    }

    #[test]
    fn a_page_needs_its_pair_and_a_link_to_it() {
        assert_eq!(faults("", ""), 0);
        assert_eq!(check(&[file("docs/how-to/a.md", "[es](../es/a.md)")]).len(), 1);
        assert_eq!(check(&[file("docs/es/a.md", "[en](../how-to/a.md)")]).len(), 1);
        assert_eq!(
            check(&[file("docs/how-to/a.md", ""), file("docs/es/a.md", "[en](../how-to/a.md)")]).len(),
            1
        );
    }

    #[test]
    fn commands_are_the_same_and_comments_are_not() {
        let block = |code: &str| format!("```sh\n{code}\n```");
        assert_eq!(
            faults(
                &block("# list\ncentralita call list   # newest first"),
                &block("# lista\ncentralita call list # primero las últimas")
            ),
            0
        );
        assert_eq!(faults(&block("centralita call list"), &block("centralita call lista")), 1);
        assert_eq!(faults(&block("curl $X/a#b"), &block("curl $X/a#c")), 1, "no comment");
        assert_eq!(faults(&block("ls"), &block("ls").replace("sh", "toml")), 1);
        assert_eq!(faults(&block("ls"), ""), 1);
        assert_eq!(faults("```sh no-test: a reason\nls\n```", "```sh no-test: un motivo\nls\n```"), 0);
        assert_eq!(faults("```sh no-test: a reason\nls\n```", &block("ls")), 1);
        assert_eq!(faults("```json\n{\"a\": \"x # y\"}\n```", "```json\n{\"a\": \"x # z\"}\n```"), 1);
    }
}
