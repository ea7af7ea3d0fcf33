//! Replays the committed fuzz corpora: the fuzz properties have to hold for them in every ordinary test run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, unreachable_pub)]

#[path = "../../../fuzz/src/media.rs"]
mod properties;

use std::path::PathBuf;

fn replay(target: &str, property: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    for file in files {
        eprintln!("{}", file.display()); // shown if the property fails
        property(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn descriptions() {
    replay("sdp", properties::sdp);
}

#[test]
fn packets() {
    replay("rtp", properties::rtp);
}
