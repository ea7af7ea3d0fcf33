//! A NAT router in front of a phone: the server sees other addresses than the phone writes.
//!
//! On one machine every address is reachable, so the router also makes the phone's own addresses useless: where the phone writes its address
//! (Contact, SDP), the server reads an unused one of the same length. What the server sends to the source addresses that it sees comes back through
//! the router; what it would send to the written addresses is lost.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::audio_probe::AudioProbe;

/// The phone's address.
const INSIDE: &str = "127.0.0.1";
/// The address that the server reads instead: of the same length, so that Content-Length stays right, and unused.
const WRITTEN: &str = "127.9.9.9";
/// The router's public address.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A running router. It stops when it is dropped.
#[derive(Debug)]
pub struct Nat {
    inner: SocketAddr,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    stop: AtomicBool,
    signalling_in: AtomicU64,
    media_in: AtomicU64,
    /// Decoded audio that was sent to the phone.
    audio: Mutex<Vec<i16>>,
}

/// A mapping: packets of the phone to `inner` leave from `outer`, and the other way round.
struct Mapping {
    inner: UdpSocket,
    outer: UdpSocket,
    phone: Option<SocketAddr>,
    far: SocketAddr,
}

impl Nat {
    /// Start a router in front of the SIP server at `server`.
    ///
    /// # Panics
    /// If no port is free.
    pub fn start(server: SocketAddr) -> Self {
        let signalling = Mapping::new(server);
        let inner = signalling.inner.local_addr().expect("a bound socket");
        let counts = Arc::new(Counts::default());
        let theirs = Arc::clone(&counts);
        let thread = std::thread::spawn(move || run(signalling, &theirs));
        Self { inner, counts, thread: Some(thread) }
    }

    /// The address to which the phone sends its SIP.
    pub fn inner(&self) -> SocketAddr {
        self.inner
    }

    /// Number of SIP messages that came back through the router.
    pub fn signalling_in(&self) -> u64 {
        self.counts.signalling_in.load(Ordering::Relaxed)
    }

    /// Number of RTP and RTCP packets that came back through the router.
    pub fn media_in(&self) -> u64 {
        self.counts.media_in.load(Ordering::Relaxed)
    }

    /// A probe of the audio sent to the phone (G.711 µ-law), taken from the packets.
    pub fn audio_probe(&self) -> AudioProbe<'_> {
        AudioProbe::new("the phone behind the box", || {
            let audio = self.counts.audio.lock().map(|audio| audio.clone()).unwrap_or_default();
            ("wire".to_owned(), audio)
        })
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Mapping {
    fn new(far: SocketAddr) -> Self {
        let bind = |address: Ipv4Addr| {
            let socket = UdpSocket::bind((address, 0)).expect("a free port");
            socket.set_nonblocking(true).expect("a socket that does not block");
            socket
        };
        Self { inner: bind(Ipv4Addr::LOCALHOST), outer: bind(OUTSIDE), phone: None, far }
    }
}

fn run(mut signalling: Mapping, counts: &Counts) {
    let mut media: HashMap<u16, Mapping> = HashMap::new();
    let mut buffer = vec![0_u8; 65536];
    while !counts.stop.load(Ordering::Relaxed) {
        let mut idle = true;
        while let Some((count, from)) = receive(&signalling.inner, &mut buffer) {
            idle = false;
            signalling.phone = Some(from);
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let _ = signalling.outer.send_to(from_phone(&text, from.port()).as_bytes(), signalling.far);
        }
        while let Some((count, _)) = receive(&signalling.outer, &mut buffer) {
            idle = false;
            counts.signalling_in.fetch_add(1, Ordering::Relaxed);
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let text = to_phone(&text, &mut media);
            if let Some(phone) = signalling.phone {
                let _ = signalling.inner.send_to(text.as_bytes(), phone);
            }
        }
        for mapping in media.values_mut() {
            while let Some((count, from)) = receive(&mapping.inner, &mut buffer) {
                idle = false;
                mapping.phone = Some(from);
                let _ = mapping.outer.send_to(&buffer[..count], mapping.far);
            }
            while let Some((count, _)) = receive(&mapping.outer, &mut buffer) {
                idle = false;
                counts.media_in.fetch_add(1, Ordering::Relaxed);
                if let (Some(payload), Ok(mut audio)) = (ulaw_payload(&buffer[..count]), counts.audio.lock())
                {
                    audio.extend(payload.iter().map(|byte| from_ulaw(*byte)));
                }
                if let Some(phone) = mapping.phone {
                    let _ = mapping.inner.send_to(&buffer[..count], phone);
                }
            }
        }
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Ok(got) => return Some(got),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return None,
        }
    }
}

/// Replace the phone's own address by an unused one. The server's address stays, in the request line and Route with another port.
fn from_phone(text: &str, port: u16) -> String {
    let contact = text.replace(&format!("{INSIDE}:{port}"), &format!("{WRITTEN}:{port}"));
    contact.replace(&format!("IN IP4 {INSIDE}"), &format!("IN IP4 {WRITTEN}"))
}

/// Restore the phone's address in messages of the server, and replace the media ports by ports of the router.
fn to_phone(text: &str, media: &mut HashMap<u16, Mapping>) -> String {
    let text = text.replace(WRITTEN, INSIDE);
    let Some(line) = text.split("\r\n").find(|line| line.starts_with("m=audio ")) else { return text };
    let Some(port) = line.split(' ').nth(1).and_then(|port| port.parse::<u16>().ok()) else { return text };
    if port == 0 {
        return text;
    }
    let far = SocketAddr::from(([127, 0, 0, 1], port));
    let mapping = media.entry(port).or_insert_with(|| Mapping::new(far));
    let inner = mapping.inner.local_addr().map_or(0, |address| address.port());
    // Both ports have five digits, so the length of the body does not change.
    assert!(inner >= 10_000 && port >= 10_000, "ports of five digits");
    text.replace(&format!("m=audio {port} "), &format!("m=audio {inner} "))
}

/// Payload of an RTP packet of type 0 without extensions.
fn ulaw_payload(packet: &[u8]) -> Option<&[u8]> {
    let (first, second) = (*packet.first()?, packet.get(1)? & 0x7f);
    (first == 0x80 && second == 0).then(|| packet.get(12..)).flatten()
}

/// ITU-T G.711, µ-law.
fn from_ulaw(byte: u8) -> i16 {
    let byte = !byte;
    let (exponent, mantissa) = ((byte >> 4) & 7, i16::from(byte & 15));
    let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::from_ulaw;

    #[test]
    fn silence_and_full_scale_decode_as_the_recommendation_says() {
        assert_eq!([0xff, 0x7f, 0x80, 0x00].map(from_ulaw), [0, 0, 32_124, -32_124]);
    }
}
