//! The how-to pages of `docs/how-to`: their shell blocks are run from top to bottom by one bash beside a real server.
//!
//! A page is run unchanged, with these differences from a reader's machine:
//! * the server's address `127.0.0.1:5000` is replaced by that of the test's server, and so is what [`HowTo::replacing`] names;
//! * the current directory is the server's, so `data` and `centralita.toml` are its data directory and its configuration;
//! * `HOME` is a scratch directory, `sudo` runs its arguments, and `systemctl stop, start or restart centralita` acts on the test's server;
//! * curl's `.curlrc` makes it fail on an HTTP error.
//!
//! A block `text` or `json` that directly follows a block `sh` (blank lines apart) is the expected output of that block, in which `…` matches
//! anything; JSON may have more fields than shown. A block `toml` must be a valid configuration. A block `sh no-test: REASON` is not run.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Scratch, Server};

/// Bash prints this at the end of a block.
const DONE: &str = "\u{1e}";
/// Time limit of one block.
const LIMIT: Duration = Duration::from_secs(60);

/// A parsed page.
#[derive(Debug)]
pub struct HowTo {
    pub name: String,
    pub blocks: Vec<CodeBlock>,
    replaced: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

/// A code block of a page.
#[derive(Debug, PartialEq, Eq)]
pub struct CodeBlock {
    /// Line number of its opening fence.
    pub line: usize,
    /// `sh`, `toml` and so on.
    pub language: String,
    /// Reason why it is not run; `None` if it is.
    pub no_test: Option<String>,
    pub text: String,
    /// Whether only blank lines are between the previous block and this one.
    pub follows: bool,
}

/// Directory of the pages.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/how-to")
}

impl HowTo {
    /// Read a page of `docs/how-to`.
    ///
    /// # Panics
    /// If it does not exist, or a block has `no-test` without a reason.
    pub fn read(name: &str) -> Self {
        let path = folder().join(format!("{name}.md"));
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { name: name.to_owned(), blocks: blocks(&text), replaced: Vec::new(), environment: Vec::new() }
    }

    /// Replace `old` in the page by `new`: a name or a port of the reader's network.
    ///
    /// # Panics
    /// If the page does not contain `old`.
    #[must_use]
    #[track_caller]
    pub fn replacing(mut self, old: &str, new: &str) -> Self {
        assert!(self.blocks.iter().any(|block| block.text.contains(old)), "{}.md says no {old}", self.name);
        self.replaced.push((old.to_owned(), new.to_owned()));
        self
    }

    /// Set an environment variable for the page's commands.
    #[must_use]
    pub fn with_environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The blocks in this language that a test may run.
    pub fn in_language<'p>(&'p self, language: &'p str) -> impl Iterator<Item = &'p CodeBlock> {
        self.blocks.iter().filter(move |block| block.language == language && block.no_test.is_none())
    }

    /// Run the page beside a server.
    ///
    /// # Panics
    /// If a command fails or prints something else than the page says, or if a configuration is invalid.
    pub fn run(&self, server: &mut Server) {
        self.run_with(server, |_, _| ());
    }

    /// The same, with `before` called with each block before it is run, for steps that the reader does by hand.
    ///
    /// # Panics
    /// As [`HowTo::run`].
    pub fn run_with(&self, server: &mut Server, mut before: impl FnMut(&str, &mut Server)) {
        let address = server.http_address().to_string();
        let replaced = |text: &str| {
            let text = text.replace("127.0.0.1:5000", &address);
            self.replaced.iter().fold(text, |text, (old, new)| text.replace(old.as_str(), new))
        };
        let mut session = Session::start(server, &self.environment);
        let mut printed: Option<String> = None;
        for block in &self.blocks {
            let at = format!("docs/how-to/{}.md:{}", self.name, block.line);
            match (block.language.as_str(), &block.no_test) {
                ("sh", None) => {
                    let text = replaced(&block.text);
                    before(&block.text, server);
                    printed = Some(session.block(&text, server, &at));
                    continue;
                }
                ("text" | "json", _) if block.follows => {
                    if let Some(printed) = &printed {
                        let expected = replaced(&block.text);
                        let fault = difference(&block.language, &expected, printed);
                        assert!(
                            fault.is_none(),
                            "{at}: {}\nprinted was:\n{printed}",
                            fault.unwrap_or_default()
                        );
                    }
                }
                ("json", _) => {
                    let read: Result<Value, _> = serde_json::from_str(&block.text.replace('…', ""));
                    assert!(read.is_ok(), "{at} is no JSON: {}", block.text);
                }
                ("toml", _) => session.configuration(&replaced(&block.text), &at),
                _ => {}
            }
            printed = None;
        }
    }
}

/// A bash process beside the server.
struct Session {
    bash: Child,
    input: ChildStdin,
    output: Receiver<String>,
    home: Scratch,
    binary: PathBuf,
}

impl Session {
    fn start(server: &Server, environment: &[(String, String)]) -> Self {
        let home = Scratch::new("home");
        home.write(".curlrc", "fail-with-body\nsilent\nshow-error\n");
        let programs = home.path().join("bin");
        std::fs::create_dir(&programs).expect("a folder for programs");
        std::os::unix::fs::symlink(server.binary(), programs.join("centralita"))
            .expect("a link to the binary");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut bash = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(server.data().parent().expect("the server's folder"))
            .env("HOME", home.path())
            .env("CURL_HOME", home.path())
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("LC_ALL", "C.UTF-8")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("bash runs");
        let mut input = bash.stdin.take().expect("a pipe was asked for");
        let mut stdout = bash.stdout.take().expect("a pipe was asked for");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if sender.send(String::from_utf8_lossy(&bytes[..count]).into_owned()).is_err() {
                    return;
                }
            }
        });
        let prologue =
            "exec 2>&1\nset -euo pipefail\nsudo() { if [ \"$1\" = -u ]; then shift 2; fi; \"$@\"; }\n";
        input.write_all(prologue.as_bytes()).expect("bash reads");
        Self { bash, input, output, binary: server.binary().to_owned(), home }
    }

    /// Run a block and return its output. `systemctl` lines are executed here.
    #[track_caller]
    fn block(&mut self, text: &str, server: &mut Server, at: &str) -> String {
        let (mut printed, mut commands) = (String::new(), String::new());
        for line in text.lines() {
            let words = line.split('#').next().unwrap_or_default().trim();
            let Some(verb) = words.strip_prefix("sudo ").unwrap_or(words).strip_prefix("systemctl ") else {
                commands.push_str(line);
                commands.push('\n');
                continue;
            };
            printed.push_str(&self.commands(&std::mem::take(&mut commands), at));
            match verb {
                "stop centralita" => server.stop(),
                "start centralita" => server.restart(),
                "restart centralita" => {
                    server.stop();
                    server.restart();
                }
                other => panic!("{at}: systemctl {other} is not known to the test"),
            }
        }
        printed.push_str(&self.commands(&commands, at));
        printed
    }

    #[track_caller]
    fn commands(&mut self, text: &str, at: &str) -> String {
        if text.trim().is_empty() {
            return String::new();
        }
        // From a file, so that a command which reads stdin does not read the next block.
        let script = self.home.write("block.sh", text);
        let told = writeln!(self.input, "source {} </dev/null\nprintf '{DONE}'", script.display());
        let (start, mut printed) = (Instant::now(), String::new());
        while told.is_ok() {
            match self.output.recv_timeout(Duration::from_millis(100)) {
                Ok(more) => printed.push_str(&more),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if let Some((before, _)) = printed.split_once(DONE) {
                return before.to_owned();
            }
            if let Ok(Some(status)) = self.bash.try_wait() {
                printed.extend(self.output.try_iter());
                panic!("{at}: the block failed ({status}):\n{text}\nprinted was:\n{printed}");
            }
            assert!(
                start.elapsed() < LIMIT,
                "{at}: not done after {LIMIT:?}:\n{text}\nprinted was:\n{printed}"
            );
        }
        panic!("{at}: bash is gone:\n{text}\nprinted was:\n{printed}");
    }

    /// The block is a complete configuration or a part of one.
    #[track_caller]
    fn configuration(&self, text: &str, at: &str) {
        let file = self.home.write("block.toml", text);
        let checked = Command::new(&self.binary).args(["config", "check", "--config"]).arg(file).output();
        let checked = checked.expect("the binary runs");
        assert!(checked.status.success(), "{at}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Background processes of a block are in the same process group.
        let group = format!("-{}", self.bash.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.bash.wait();
    }
}

fn blocks(text: &str) -> Vec<CodeBlock> {
    let mut found: Vec<CodeBlock> = Vec::new();
    let (mut open, mut follows) = (false, false);
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open) {
            (Some(info), false) => {
                let (kind, reason) =
                    info.split_once(':').map_or((info, None), |(kind, why)| (kind, Some(why.trim())));
                let mut words = kind.split_whitespace();
                let language = words.next().unwrap_or_default().to_owned();
                let no_test = words.any(|word| word == "no-test").then(|| {
                    let reason = reason.filter(|reason| !reason.is_empty());
                    reason.unwrap_or_else(|| panic!("line {}: no-test needs a reason", number + 1)).to_owned()
                });
                found.push(CodeBlock { line: number + 1, language, no_test, text: String::new(), follows });
                open = true;
            }
            (Some(_), true) => (open, follows) = (false, true),
            (None, true) => {
                if let Some(block) = found.last_mut() {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
            (None, false) => follows &= line.trim().is_empty(),
        }
    }
    found
}

/// The difference between the expected and the printed output.
fn difference(language: &str, expected: &str, printed: &str) -> Option<String> {
    if language != "json" {
        let [expected, printed] = [expected, printed].map(normalised);
        return (!matches_pattern(&expected, &printed)).then(|| format!("expected was:\n{expected}"));
    }
    let expected: Value = match serde_json::from_str(expected) {
        Ok(value) => value,
        Err(error) => return Some(format!("what is expected is no JSON: {error}")),
    };
    match serde_json::from_str(printed) {
        Ok(printed) => json_difference("", &expected, &printed),
        Err(error) => Some(format!("what was printed is no JSON: {error}")),
    }
}

/// Consecutive blanks count as one and blank lines are ignored, because columns are as wide as their content.
fn normalised(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Whether the text matches the pattern, in which `…` matches anything.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The first field that was expected and not printed.
fn json_difference(path: &str, expected: &Value, printed: &Value) -> Option<String> {
    match (expected, printed) {
        (Value::String(pattern), _) if pattern == "…" => None,
        (Value::String(pattern), Value::String(text)) if matches_pattern(pattern, text) => None,
        (Value::Object(fields), Value::Object(there)) => fields.iter().find_map(|(name, expected)| {
            json_difference(&format!("{path}.{name}"), expected, there.get(name).unwrap_or(&Value::Null))
        }),
        (Value::Array(items), Value::Array(there)) if items.len() == there.len() => {
            let pairs = items.iter().zip(there).enumerate();
            pairs
                .into_iter()
                .find_map(|(at, (one, other))| json_difference(&format!("{path}[{at}]"), one, other))
        }
        (expected, printed) if expected == printed => None,
        (expected, printed) => Some(format!("{path} is {printed}, not {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_taken_apart() {
        let page = "a\n```sh\nls\n```\n\n```text\nx\n```\nprose\n  ```sh no-test: a reason\n  ls\n  ```\n```toml\n```\n";
        let found = blocks(page);
        let short: Vec<_> =
            found.iter().map(|b| (b.line, b.language.as_str(), b.no_test.as_deref(), b.follows)).collect();
        let expected = [
            (2, "sh", None, false),
            (6, "text", None, true),
            (10, "sh", Some("a reason"), false),
            (13, "toml", None, true),
        ];
        assert_eq!(short, expected);
        assert_eq!((found[0].text.as_str(), found[1].text.as_str()), ("ls\n", "x\n"));
    }

    #[test]
    #[should_panic(expected = "needs a reason")]
    fn who_does_not_test_says_why() {
        blocks("```sh no-test\n```");
    }

    #[test]
    fn printed_text_is_compared_but_for_what_is_left_open() {
        assert_eq!(difference("text", "ID  END\n…  busy\n", "ID            END\nsession_1  busy\n\n"), None);
        assert_eq!(difference("text", "…\nlast\n", "one\ntwo\nlast"), None);
        assert!(difference("text", "ID END\n… busy", "ID END\nsession_1 no_answer").is_some());
        assert!(difference("text", "one", "one\ntwo").is_some());
        assert!(difference("text", "a…b…c", "a-c-b").is_some());
    }

    #[test]
    fn printed_json_is_compared_field_by_field() {
        let printed = r#"{"id": "ext_17", "n": 3, "more": null, "list": [{"a": 1, "b": 2}]}"#;
        assert_eq!(difference("json", r#"{"id": "ext_…", "n": "…", "list": [{"a": 1}]}"#, printed), None);
        assert!(difference("json", r#"{"n": 4}"#, printed).is_some());
        assert!(difference("json", r#"{"gone": 4}"#, printed).is_some());
        assert!(difference("json", r#"{"list": []}"#, printed).is_some());
        assert!(difference("json", r#"{"id": "ext_"}"#, printed).is_some());
    }
}
