//! A real softphone: baresip, controlled over its control port. It sends a tone and records what it receives.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::audio_probe::AudioProbe;
use crate::{Block, Extension, Scratch, soon, tone};

const PROGRAM: &str = "baresip";
const MODULES: &str = "/usr/lib/baresip/modules";

/// Transport between the phone and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Behaviour on an incoming call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    AtOnce,
    OnCommand,
}

/// Account of the phone, and address of its server.
#[derive(Debug, Clone)]
pub struct Account {
    pub username: String,
    pub password: String,
    pub domain: String,
    pub server: SocketAddr,
    pub transport: Transport,
    pub answering: Answering,
    /// Supported codecs in order of preference: `PCMU`, or `opus,PCMU`. Received audio is measured in G.711 only.
    pub codec: &'static str,
}

impl Account {
    /// A phone of this extension over UDP that answers at once.
    pub fn of(extension: &Extension, server: SocketAddr) -> Self {
        Self {
            username: extension.username.clone(),
            password: extension.password.clone(),
            domain: "localhost".to_owned(),
            server,
            transport: Transport::Udp,
            answering: Answering::AtOnce,
            codec: "PCMU",
        }
    }

    #[must_use]
    pub fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    #[must_use]
    pub fn answering(self, answering: Answering) -> Self {
        Self { answering, ..self }
    }

    #[must_use]
    pub fn codec(self, codec: &'static str) -> Self {
        Self { codec, ..self }
    }

    fn line(&self) -> String {
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        let mode = match self.answering {
            Answering::AtOnce => "auto",
            Answering::OnCommand => "manual",
        };
        format!(
            "<sip:{}@{};transport={transport}>;auth_user={};auth_pass={};outbound=\"sip:{};transport={transport}\";regint=3600;answermode={mode};audio_codecs={}",
            self.username,
            self.domain,
            self.username,
            self.password,
            self.server,
            baresip_codecs(self.codec)
        )
    }
}

/// A running baresip. It is ended when it is dropped.
#[derive(Debug)]
pub struct Phone {
    name: String,
    child: Child,
    control: TcpStream,
    events: Arc<PhoneEvents>,
    folder: Scratch,
    block: Block,
}

/// Reported events that no test has read yet.
#[derive(Debug, Default)]
struct PhoneEvents {
    queue: Mutex<VecDeque<Value>>,
    arrived: Condvar,
}

impl Phone {
    /// Start a phone without an account; it sends a tone of `hz` in its calls.
    ///
    /// # Panics
    /// If baresip is not installed or does not start.
    pub fn start(name: &str, hz: u32) -> Self {
        let folder = Scratch::new(name);
        let block = Block::take();
        let tone = folder.write("tone.wav", tone::wav(&tone::sine(hz, 120)));
        let (low, high) = block.rtp();
        let path = folder.path().display();
        // baresip listens for TLS one port above its SIP port, so the next port here is the third one.
        let config = format!(
            "poll_method epoll\nsip_listen 127.0.0.1:{sip}\nnet_interface 127.0.0.1\ncall_local_timeout 120\ncall_max_calls 4\n\
             call_hold_other_calls no\naudio_path /usr/share/baresip\naudio_source aufile,{tone}\nausrc_srate 8000\nauplay_srate 8000\n\
             ausrc_channels 1\nauplay_channels 1\nausrc_format s16\nauplay_format s16\nauenc_format s16\naudec_format s16\n\
             audio_buffer 20-160\naudio_telev_pt 101\nrtp_ports {low}-{high}\nrtcp_enable yes\nrtcp_mux no\n\
             jitter_buffer_type off\nmodule_path {MODULES}\nmodule g711.so\nmodule g722.so\nmodule opus.so\nmodule aufile.so\nmodule sndfile.so\nmodule uuid.so\n\
             module_app account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\nsnd_path {path}\n\
             ctrl_tcp_listen 127.0.0.1:{control}\n",
            sip = block.port(0),
            control = block.port(2),
            tone = tone.display(),
        );
        folder.write("config", config);
        folder.write("accounts", "");
        folder.write("contacts", "");
        let output = File::create(folder.path().join("out")).expect("a file for the output");
        let child = Command::new(PROGRAM)
            .arg("-f")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{PROGRAM}: {error} (Debian's package is baresip-core)"));
        let address = SocketAddr::from(([127, 0, 0, 1], block.port(2)));
        let control = soon("baresip opens its control port", || TcpStream::connect(address).ok());
        let events = Arc::new(PhoneEvents::default());
        let (reader, sink) = (control.try_clone().expect("a second handle"), Arc::clone(&events));
        std::thread::spawn(move || listen(reader, &sink));
        Self { name: name.to_owned(), child, control, events, folder, block }
    }

    /// Start a phone and register it.
    pub fn registered(name: &str, hz: u32, account: &Account) -> Self {
        let mut phone = Self::start(name, hz);
        phone.register(account);
        phone
    }

    /// Add an account and wait for the server's 200.
    pub fn register(&mut self, account: &Account) {
        self.account(account);
        self.expect("REGISTER_OK");
    }

    /// Add an account; the result is reported as `REGISTER_OK` or `REGISTER_FAIL`.
    pub fn account(&mut self, account: &Account) {
        self.send_command("uanew", &account.line());
    }

    /// The phone's own SIP port.
    pub fn port(&self) -> u16 {
        self.block.port(0)
    }

    pub fn dial(&mut self, target: &str) {
        self.send_command("dial", target);
    }

    pub fn answer(&mut self) {
        self.send_command("accept", "");
    }

    pub fn hang_up(&mut self) {
        self.send_command("hangup", "");
    }

    pub fn hold(&mut self) {
        self.send_command("hold", "");
    }

    pub fn resume(&mut self) {
        self.send_command("resume", "");
    }

    /// Press keys in the current call (RFC 4733 events).
    pub fn press(&mut self, keys: &str) {
        for key in keys.chars() {
            self.send_command("sndcode", &key.to_string());
        }
    }

    /// Send a command as a netstring of JSON.
    fn send_command(&mut self, command: &str, parameters: &str) {
        let message = json!({ "command": command, "params": parameters, "token": command }).to_string();
        let netstring = format!("{}:{message},", message.len());
        self.control.write_all(netstring.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Wait for the next event of this type; events before it are dropped.
    ///
    /// # Panics
    /// If it does not arrive in time; the message shows what did.
    #[track_caller]
    pub fn expect(&self, kind: &str) -> Value {
        self.expect_within(Duration::from_secs(15), kind)
    }

    /// [`Phone::expect`] with another time limit.
    #[track_caller]
    pub fn expect_within(&self, limit: Duration, kind: &str) -> Value {
        let deadline = Instant::now() + limit;
        let mut seen = Vec::new();
        let mut events = self.events.queue.lock().expect("no reader panicked");
        loop {
            while let Some(event) = events.pop_front() {
                if event["type"] == kind {
                    return event;
                }
                seen.push(format!("{} {}", event["type"], event["param"]));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} waited {limit:?} for {kind}; there came {seen:#?}\n{}",
                self.name,
                self.output()
            );
            events = self.events.arrived.wait_timeout(events, left).expect("no reader panicked").0;
        }
    }

    /// What baresip printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("out")).unwrap_or_default()
    }

    /// A probe of the received audio, from now on.
    ///
    /// baresip 1.0 stops recording for good once a stream was not `sendrecv`: after a hold, use the probe of the router instead
    /// ([`crate::Nat::audio_probe`]).
    pub fn audio_probe(&self) -> AudioProbe<'_> {
        AudioProbe::new(&self.name, || match self.recording() {
            Some(path) => (path.display().to_string(), tone::recorded(&path)),
            None => Default::default(),
        })
    }

    /// Wait until the phone receives the tone of `hz` for half a second.
    #[track_caller]
    pub fn hears(&self, hz: u32) {
        self.audio_probe().hears(hz);
    }

    /// Wait for a second without received audio: no packets, or silence.
    #[track_caller]
    pub fn hears_nothing(&self) {
        self.audio_probe().hears_nothing();
    }

    /// The newest recording of the received audio.
    fn recording(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path()).ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let newest = names.filter(|name| name.ends_with("-dec.wav")).max()?;
        Some(self.folder.path().join(newest))
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Read netstrings of JSON until the phone closes its control connection.
fn listen(mut stream: TcpStream, events: &PhoneEvents) {
    let mut held: Vec<u8> = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        while let Some((message, rest)) = netstring(&held) {
            if let Ok(event) = serde_json::from_slice::<Value>(message)
                && let Ok(mut queue) = events.queue.lock()
            {
                queue.push_back(event);
                events.arrived.notify_all();
            }
            held = rest.to_vec();
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => held.extend_from_slice(&buffer[..count]),
        }
    }
}

/// `5:hello,rest` gives `hello` and `rest`.
fn netstring(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
    let end = colon + 1 + length;
    (bytes.len() > end).then(|| (&bytes[colon + 1..end], &bytes[end + 1..]))
}

/// Codec names as baresip expects them, with rate and channels.
fn baresip_codecs(codecs: &str) -> String {
    codecs.replace("opus", "opus/48000/2").replace("G722", "G722/16000/1")
}
