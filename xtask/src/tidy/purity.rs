//! The pure crates have no sockets, clocks, threads or environment: time and random numbers are arguments.

use super::rust::{above_tests, code_of};
use super::{Fault, File};

const PURE: &[&str] = &["base", "sip", "media", "model", "switch"];

/// Forbidden words, each with its replacement.
const BANNED: &[(&str, &str)] = &[
    ("tokio", "no runtime here; the shell performs effects"),
    ("async fn", "a pure crate does not wait"),
    ("UdpSocket", "the shell owns sockets"),
    ("TcpStream", "the shell owns sockets"),
    ("TcpListener", "the shell owns sockets"),
    ("UnixStream", "the shell owns sockets"),
    ("ToSocketAddrs", "the shell resolves names"),
    ("Instant::now", "time is an argument: take `base::Now`"),
    ("SystemTime", "time is an argument: take `base::Now`"),
    ("Zoned::now", "time is an argument: take `base::Now`"),
    ("Timestamp::now", "time is an argument: take `base::Now`"),
    (".elapsed()", "a clock read too: subtract from `now`"),
    ("std::thread", "one owner, one loop: no threads here"),
    ("thread::spawn", "one owner, one loop: no threads here"),
    ("thread::sleep", "nothing here may block"),
    ("thread_rng", "random numbers are an argument: take `base::Rng`"),
    ("rand::rng", "random numbers are an argument: take `base::Rng`"),
    ("OsRng", "random numbers are an argument: take `base::Rng`"),
    ("SysRng", "random numbers are an argument: take `base::Rng`"),
    ("getrandom", "random numbers are an argument: take `base::Rng`"),
    ("RandomState", "a random hash key: take `base::KeyedMap`"),
    ("std::env", "configuration is an argument"),
    ("env::var", "configuration is an argument"),
    ("std::fs", "files belong to the shell"),
    ("std::process", "processes belong to the shell"),
];

pub(super) fn check(file: &File) -> Vec<Fault> {
    let mut parts = file.path.split('/');
    let in_source = (parts.next(), parts.next(), parts.next());
    let (Some("crates"), Some(name), Some("src")) = in_source else { return Vec::new() };
    if !PURE.contains(&name) || file.path.rsplit('.').next() != Some("rs") || file.path.ends_with("/tests.rs")
    {
        return Vec::new();
    }
    let code = code_of(above_tests(&file.text));
    let mut faults = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for (word, why) in BANNED {
            if contains_word(line, word) {
                faults.push(Fault::at(&file.path, number + 1, format!("`{word}` in a pure crate: {why}")));
            }
        }
    }
    faults
}

/// Whether `line` contains `word` as a whole word.
fn contains_word(line: &str, word: &str) -> bool {
    let grown = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        (word.starts_with('.') || !before.is_some_and(grown)) && !after.is_some_and(grown)
    })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_clock_a_socket_and_the_environment_are_found_in_pure_code() {
        for line in [
            "Instant::now()",
            "t.elapsed()",
            "std::env::var(x)",
            "use std::net::UdpSocket;",
            "tokio::spawn(f)",
        ] {
            assert_eq!(
                check(&file("crates/sip/src/a.rs", line))
                    .iter()
                    .filter(|f| !f.message.is_empty())
                    .count()
                    .min(1),
                1,
                "{line}"
            );
        }
    }

    #[test]
    fn the_shell_the_tests_and_the_comments_may_say_so() {
        assert!(check(&file("crates/server/src/a.rs", "Instant::now()")).is_empty());
        assert!(check(&file("crates/sip/tests/a.rs", "std::thread::scope(f)")).is_empty());
        assert!(check(&file("crates/sip/src/a.rs", "// never Instant::now()\n")).is_empty());
        assert!(
            check(&file("crates/sip/src/a.rs", "x\n#[cfg(test)]\nmod tests { Instant::now() }")).is_empty()
        );
        assert!(check(&file("crates/sip/src/a.rs", "let instant = now.instant; MyUdpSocketName")).is_empty());
        assert!(check(&file("crates/base/src/a.rs", "env!(\"CARGO_PKG_VERSION\")")).is_empty());
    }
}
