//! No catch-all names: a file or folder is named after its content.

use super::{Fault, File};

const CATCH_ALL_NAMES: &[&str] =
    &["common", "util", "utils", "helper", "helpers", "manager", "managers", "misc"];

pub(super) fn check(file: &File) -> Vec<Fault> {
    let catch_all = file.path.split('/').find(|part| {
        let stem = part.split('.').next().unwrap_or(part).to_ascii_lowercase();
        stem.split(['_', '-']).any(|word| CATCH_ALL_NAMES.contains(&word))
    });
    catch_all
        .map(|part| Fault::of(&file.path, format!("`{part}` is a catch-all name: name the content")))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn catch_all_names_are_found_in_files_folders_and_parts_of_names() {
        for path in
            ["crates/sip/src/utils.rs", "e2e/tests/common/mod.rs", "web/src/call-manager.ts", "x/Helper.rs"]
        {
            assert_eq!(check(&file(path, "")).len(), 1, "{path}");
        }
        for path in
            ["crates/sip/src/dialog.rs", "crates/switch/src/commons_of_parliament.rs", "docs/utility.md"]
        {
            assert!(check(&file(path, "")).is_empty(), "{path}");
        }
    }
}
