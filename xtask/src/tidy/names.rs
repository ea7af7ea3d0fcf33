//! No hall where anything may be put: a file or folder is named after what it holds.

use super::{Fault, File};

const HALLS: &[&str] = &["common", "util", "utils", "helper", "helpers", "manager", "managers", "misc"];

pub(super) fn check(file: &File) -> Vec<Fault> {
    let hall = file.path.split('/').find(|part| {
        let stem = part.split('.').next().unwrap_or(part).to_ascii_lowercase();
        stem.split(['_', '-']).any(|word| HALLS.contains(&word))
    });
    hall.map(|part| Fault::of(&file.path, format!("`{part}` says nothing: name what is inside")))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn halls_are_found_as_file_as_folder_and_as_part_of_a_name() {
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
