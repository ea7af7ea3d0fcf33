//! Crash reports: the form of the input that the switch panicked on, without personal data. Letters and digits of values are masked; everything
//! between them is kept, because that is what a parser trips over.

use std::fmt::{self, Write as _};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Now, Timestamp};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use sip::Hop;
use switch::Input;

/// Reports that are kept: a message that is resent after each restart must not fill the disk.
const KEPT: usize = 20;
/// Methods and the version, which are not personal data.
const PLAIN: &[&str] = &[
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "PRACK",
    "UPDATE",
    "INFO",
    "REFER",
    "NOTIFY",
    "SUBSCRIBE",
    "PUBLISH",
    "MESSAGE",
    "SIP/2.0",
];

/// The input that the switch is handling: noted before each input, without allocation.
#[derive(Clone, Debug, Default)]
pub(super) enum Handling {
    /// No input: outputs are being executed.
    #[default]
    Nothing,
    /// A SIP message.
    Message(Hop, Bytes),
    /// Another input: its kind, and the name of its variant.
    Other(&'static str, Word),
}

impl Handling {
    pub(super) fn of(input: &Input) -> Handling {
        match input {
            Input::Packet { hop, bytes } => Handling::Message(*hop, bytes.clone()),
            Input::Command { command, .. } => Handling::Other("command", Word::of(command)),
            Input::Media(event) => Handling::Other("media event", Word::of(event)),
            Input::FlowClosed(_)
            | Input::Unreachable(_)
            | Input::Directory { .. }
            | Input::Restore { .. }
            | Input::Resolved { .. }
            | Input::Prompts(_)
            | Input::Fetched { .. }
            | Input::Deposited { .. }
            | Input::SettingChanged { .. }
            | Input::Journal(_)
            | Input::Listening(_)
            | Input::Tick => Handling::Other("input", Word::of(input)),
        }
    }
}

/// The first word of a debug output: the name of an enum's variant.
#[derive(Clone, Copy, Default)]
pub(super) struct Word {
    text: [u8; 24],
    len: usize,
}

impl Word {
    fn of(value: &impl fmt::Debug) -> Word {
        let mut word = Word::default();
        // Writing stops with an error after the first word, so the rest is not even formatted.
        let _ = write!(word, "{value:?}");
        word
    }

    fn as_str(&self) -> &str {
        self.text.get(..self.len).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl fmt::Write for Word {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let room = self.text.get_mut(self.len).filter(|_| byte.is_ascii_alphanumeric());
            *room.ok_or(fmt::Error)? = byte;
            self.len += 1;
        }
        Ok(())
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// For so long a message that caused a panic is ignored. A UAC without answer retransmits over UDP for half a minute (RFC 3261 §17.1.1.2), and
/// each retransmission would end the process and every call.
const IGNORE_FOR: Duration = Duration::from_secs(600);

/// Digests of messages whose handling recently ended the process (poison messages).
#[derive(Debug, Default)]
pub(super) struct PoisonMessages(Vec<String>);

impl PoisonMessages {
    /// Read the digests from the names of the reports in `folder`.
    pub(super) fn read(folder: &Path, now: Now) -> PoisonMessages {
        let Ok(entries) = fs::read_dir(folder) else { return PoisonMessages::default() };
        let recent = |name: &str| {
            let (at, digest) = name.strip_prefix("exchange-")?.strip_suffix(".txt")?.split_once('-')?;
            let at = Timestamp::from_micros(at.parse().ok()?);
            (now.wall.since(at) < IGNORE_FOR).then(|| digest.to_owned())
        };
        PoisonMessages(entries.filter_map(|entry| recent(entry.ok()?.file_name().to_str()?)).collect())
    }

    /// Whether this message is one of them. Normally there is none, and it is not even hashed.
    pub(super) fn has(&self, bytes: &[u8]) -> bool {
        !self.0.is_empty() && self.0.contains(&digest(bytes))
    }
}

/// The first 8 bytes of the SHA-256 of a message, in hex.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Write a report to `folder`, which is created if missing; only the newest [`KEPT`] reports stay.
pub(super) fn write(folder: &Path, now: Now, panic: &str, handling: &Handling) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut others: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with("exchange-"))
        })
        .collect();
    others.sort();
    for old in others.iter().rev().skip(KEPT - 1) {
        fs::remove_file(old)?;
    }
    let digest = match handling {
        Handling::Message(_, bytes) => format!("-{}", digest(bytes)),
        Handling::Nothing | Handling::Other(..) => String::new(),
    };
    let path = folder.join(format!("exchange-{:020}{digest}.txt", now.wall.as_micros()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(report(now, panic, handling).as_bytes())?;
    file.sync_data()?;
    Ok(path)
}

fn report(now: Now, panic: &str, handling: &Handling) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("centralita {version}, {}: the exchange {panic}\n", now.wall);
    match handling {
        Handling::Nothing => {
            text.push_str("It was executing outputs of earlier inputs.\n");
        }
        Handling::Other(kind, which) => {
            let _ = writeln!(text, "It was handling an input of the kind: {kind} {}", which.as_str());
        }
        Handling::Message(hop, bytes) => {
            let _ = writeln!(
                text,
                "It was handling a SIP message of {} bytes, over {}, listener {}, {}. Its form (letters are x, digits 0):\n",
                bytes.len(),
                hop.transport.as_param(),
                hop.listener,
                if hop.remote.is_ipv4() { "IPv4" } else { "IPv6" },
            );
            text.push_str(&masked_form(bytes));
            text.push('\n');
        }
    }
    text
}

/// A message with its values masked. Names of headers and SDP lines are kept if they look like names.
fn masked_form(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut body = false;
    for (n, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let kept = match line {
            _ if n == 0 => 0,
            [_, b'=', ..] if body => 2,
            _ if body => 0,
            _ => line.iter().position(|byte| *byte == b':').filter(|end| is_name(&line[..*end])).unwrap_or(0),
        };
        body |= n > 0 && matches!(line, b"\r\n" | b"\n");
        let (name, value) = line.split_at(kept);
        text.push_str(&String::from_utf8_lossy(name));
        if n == 0 {
            start_line(value, &mut text);
        } else {
            mask(value, &mut text);
        }
    }
    text
}

fn is_name(bytes: &[u8]) -> bool {
    (1..=40).contains(&bytes.len()) && bytes.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'-')
}

/// Methods, the version and the status code of a response are kept.
fn start_line(line: &[u8], text: &mut String) {
    let response = line.starts_with(b"SIP/2.0 ");
    for (n, word) in line.split_inclusive(|byte| *byte == b' ').enumerate() {
        let known = std::str::from_utf8(word).is_ok_and(|word| PLAIN.contains(&word.trim_end()));
        if known || (response && n == 1 && word.len() == 4) {
            text.push_str(&String::from_utf8_lossy(word));
        } else {
            mask(word, text);
        }
    }
}

fn mask(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => text.push('x'),
            b'0'..=b'9' => text.push('0'),
            b'\n' | b'\t' | b' '..=b'~' => text.push(*byte as char),
            b'\r' => {}
            // A UTF-8 byte of a name is masked like a letter; control characters are kept, as escapes.
            0x80.. => text.push('?'),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_report_contains_no_personal_data() {
        let said = masked_form(
            "INVITE sip:56912345678@office.example SIP/2.0\r\nFrom: \"José\" <sip:1001@x>;tag=a1\r\nX Y: secret\r\n\
             Authorization: Digest response=\"0a\"\r\n\r\nv=0\r\nc=IN IP4 10.0.0.7\r\nhello: you\r\n"
                .as_bytes(),
        );
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "INVITE xxx:00000000000@xxxxxx.xxxxxxx SIP/2.0");
        assert_eq!(lines[1], "From: \"xxx??\" <xxx:0000@x>;xxx=x0");
        assert_eq!(lines[2], "x x: xxxxxx");
        assert_eq!(lines[3], "Authorization: xxxxxx xxxxxxxx=\"0x\"");
        assert_eq!(&lines[4..], ["", "v=0", "c=xx xx0 00.0.0.0", "xxxxx: xxx"]);
        assert!(masked_form(b"SIP/2.0 486 Busy\r\n").starts_with("SIP/2.0 486 xxxx"));
        assert_eq!(masked_form(b"\x00\xff:"), "\\x00?:");
    }

    #[test]
    fn an_input_is_named_by_its_variant_only() {
        let command = switch::Command::Stop { force: true };
        let Handling::Other("command", word) = Handling::of(&Input::Command { token: 1, command }) else {
            panic!("a command");
        };
        assert_eq!(word.as_str(), "Stop");
    }
}
