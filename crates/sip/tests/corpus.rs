//! Replays the committed fuzz corpora: seeds, and inputs that a fuzzer found.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../../../fuzz/src/sip.rs"]
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
fn datagrams() {
    replay("datagram", properties::datagram);
}

#[test]
fn streams() {
    replay("stream", properties::stream);
}

#[test]
fn uris() {
    replay("uri", properties::uri);
}

#[test]
fn digests() {
    replay("digest", properties::digest);
}
