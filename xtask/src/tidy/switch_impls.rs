//! `impl Switch` belongs into `switch.rs` and `dispatch/`: what is left elsewhere is counted, and the count may only fall.

use super::rust::{above_tests, code_of};
use super::{Fault, File};

/// Blocks `impl Switch` outside of [`HOME`]. Lower it with every block that becomes an `impl` of its own type; it ends at 0.
const RECORDED: usize = 0;

/// Where the dispatching type may have its methods.
const HOME: [&str; 2] = ["crates/switch/src/switch.rs", "crates/switch/src/dispatch/"];

const CRATE: &str = "crates/switch/src/";

pub(super) fn check(files: &[File]) -> Vec<Fault> {
    compare(files, RECORDED)
}

fn compare(files: &[File], recorded: usize) -> Vec<Fault> {
    let elsewhere = files.iter().filter(|file| {
        file.path.starts_with(CRATE)
            && file.path.rsplit('.').next() == Some("rs")
            && !HOME.iter().any(|home| file.path.starts_with(home))
    });
    let count: usize = elsewhere.map(|file| blocks(&file.text)).sum();
    if count == recorded {
        return Vec::new();
    }
    let message = if count > recorded {
        format!(
            "{count} blocks `impl Switch` outside switch.rs and dispatch/, and at most {recorded} are allowed: \
             give the method to the type whose state it changes"
        )
    } else {
        format!(
            "{count} blocks `impl Switch` outside switch.rs and dispatch/: lower RECORDED from {recorded} \
             in xtask/src/tidy/switch_impls.rs"
        )
    };
    vec![Fault::of(CRATE, message)]
}

/// Inherent blocks `impl Switch {` above the tests of a file.
fn blocks(text: &str) -> usize {
    let code = code_of(above_tests(text));
    code.lines().filter(|line| line.starts_with("impl Switch {")).count()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn faults(files: &[(&str, &str)], recorded: usize) -> Vec<Fault> {
        let files: Vec<File> = files.iter().map(|(path, text)| file(path, text)).collect();
        compare(&files, recorded)
    }

    #[test]
    fn the_count_is_exact_so_that_it_can_only_fall() {
        let tree = [
            ("crates/switch/src/switch.rs", "impl Switch {\n}\n"),
            ("crates/switch/src/dispatch/media.rs", "impl Switch {\n}\n"),
            (
                "crates/switch/src/call/fork.rs",
                "impl Switch {\n}\nimpl SwitchConfig {\n}\n// impl Switch {\n",
            ),
            ("crates/switch/src/mwi.rs", "impl Mwi {\n}\n\n#[cfg(test)]\nmod tests {\nimpl Switch {\n}\n}\n"),
            ("crates/server/src/a.rs", "impl Switch {\n}\n"),
        ];
        assert!(faults(&tree, 1).is_empty());
        assert!(faults(&tree, 0)[0].message.contains("at most 0"));
        assert!(faults(&tree, 2)[0].message.contains("lower RECORDED from 2"));
    }
}
