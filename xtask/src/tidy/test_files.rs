//! In a crate with one test binary, `tests/main.rs` declares every file beside it; otherwise its tests would not run.

use super::{Fault, File};

pub(super) fn check(files: &[File]) -> Vec<Fault> {
    let mains = files.iter().filter(|file| file.path.ends_with("/tests/main.rs"));
    mains.flat_map(|main| unnamed(files, main)).collect()
}

fn unnamed(files: &[File], main: &File) -> Vec<Fault> {
    let folder = main.path.trim_end_matches("main.rs");
    let manifest = format!("{}Cargo.toml", folder.trim_end_matches("tests/"));
    let own_binaries = files.iter().find(|file| file.path == manifest).map_or("", |file| &file.text);
    let is_named = |name: &str| {
        main.text.lines().any(|line| line == format!("mod {name};"))
            || own_binaries.contains(&format!("[[test]]\nname = \"{name}\""))
    };
    let beside = files.iter().filter(|file| {
        let name = file.path.strip_prefix(folder).and_then(|rest| rest.strip_suffix(".rs"));
        name.is_some_and(|name| !name.contains('/') && name != "main" && !is_named(name))
    });
    let message = format!("{} does not declare it: its tests never run", main.path);
    beside.map(|file| Fault::of(&file.path, message.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_test_file_that_no_binary_holds_is_a_fault() {
        let mut files = vec![
            file("a/tests/main.rs", "mod b;\n"),
            file("a/tests/b.rs", ""),
            file("a/tests/own.rs", ""),
            file("a/tests/support/mod.rs", ""),
            file("a/Cargo.toml", "[[test]]\nname = \"own\"\n"),
        ];
        assert!(check(&files).is_empty());
        files.push(file("a/tests/c.rs", ""));
        assert_eq!(check(&files).len(), 1);
    }
}
