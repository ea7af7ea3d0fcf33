//! Attacks on media: eavesdropping and injection of RTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use e2e::raw::{DialogSide, EstablishedCall, Raw, rtp_address};
use e2e::{Server, until};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// SSRCs of the two parties and of the attacker.
const A: u32 = 0xAAAA_0001;
const B: u32 = 0xBBBB_0002;
const THIEF: u32 = 0x6666_6666;
/// Payload of each: the relay rewrites SSRCs, but not the payload.
const SAYS_A: u8 = 0xA1;
const SAYS_B: u8 = 0xB2;
const SAYS_THIEF: u8 = 0x66;

/// An RTP socket and the RTCP socket above it.
struct RtpEndpoint {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    sequence: u16,
}

impl RtpEndpoint {
    fn new(ip: IpAddr) -> Self {
        let (rtp, rtcp) = (0..200)
            .find_map(|_| {
                let rtp = UdpSocket::bind((ip, 0)).ok()?;
                let port = rtp.local_addr().ok()?.port();
                let rtcp = UdpSocket::bind((ip, port.checked_add(1)?)).ok()?;
                (port % 2 == 0).then_some((rtp, rtcp))
            })
            .expect("an even port with a free one above it");
        rtp.set_nonblocking(true).expect("non-blocking");
        rtcp.set_nonblocking(true).expect("non-blocking");
        Self { rtp, rtcp, sequence: 1000 }
    }

    fn address(&self) -> SocketAddr {
        self.rtp.local_addr().expect("an address")
    }

    fn packet(sequence: u16, ssrc: u32, payload: u8) -> Vec<u8> {
        let mut bytes = vec![0x80, 0];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend((u32::from(sequence) * 160).to_be_bytes());
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend([payload; 160]);
        bytes
    }

    fn send(&mut self, to: SocketAddr, ssrc: u32, payload: u8) {
        self.sequence = self.sequence.wrapping_add(1);
        let _ = self.rtp.send_to(&Self::packet(self.sequence, ssrc, payload), to);
    }

    /// Packets received since the last call, in both directions.
    fn received(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut buffer = [0; 2048];
        for socket in [&self.rtp, &self.rtcp] {
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((count, _)) => all.push(buffer[..count].to_vec()),
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                    Err(_) => break,
                }
            }
        }
        all
    }
}

/// Number of packets with this payload.
fn count_payload(packets: &[Vec<u8>], payload: u8) -> usize {
    packets.iter().filter(|packet| packet.len() > 100 && packet.last() == Some(&payload)).count()
}

struct MediaCall {
    a: Raw,
    b: Raw,
    voice_a: RtpEndpoint,
    voice_b: RtpEndpoint,
}

impl MediaCall {
    fn new(server: &Server) -> Self {
        let (alice, bob) = (server.extension("1001"), server.extension("1002"));
        let (mut a, mut b) = (Raw::new(server, &alice), Raw::new(server, &bob));
        let (voice_a, voice_b) = (RtpEndpoint::new(LOCALHOST), RtpEndpoint::new(LOCALHOST));
        (a.media, b.media) = (voice_a.address(), voice_b.address());
        a.register();
        b.register();
        Self { a, b, voice_a, voice_b }
    }

    /// Both send until both receive each other. Returns the address to which each must send.
    fn start_media(&mut self, up: &EstablishedCall) -> (SocketAddr, SocketAddr) {
        let (to_a, to_b) = (rtp_address(&up.caller.sdp), rtp_address(&up.callee.sdp));
        let (mut at_a, mut at_b) = (0, 0);
        until(Duration::from_secs(5), "both hear each other", || {
            self.voice_a.send(to_a, A, SAYS_A);
            self.voice_b.send(to_b, B, SAYS_B);
            at_a += count_payload(&self.voice_a.received(), SAYS_B);
            at_b += count_payload(&self.voice_b.received(), SAYS_A);
            (at_a > 3 && at_b > 3).then_some(())
        });
        (to_a, to_b)
    }
}

/// All RTP ports of the server.
fn range(server: &Server) -> std::ops::RangeInclusive<u16> {
    let base = server.http_address().port();
    base + 60..=base + 399
}

/// RTCP: a sender report and a BYE, or an empty receiver report and a BYE.
fn rtcp(ssrc: u32) -> [Vec<u8>; 2] {
    let ssrc = ssrc.to_be_bytes();
    let mut report = vec![0x80, 200, 0, 6];
    report.extend(ssrc);
    report.extend([0x55; 20]);
    let mut bye = vec![0x80, 201, 0, 1];
    bye.extend(ssrc);
    bye.extend([0x81, 203, 0, 1]);
    bye.extend(ssrc);
    let mut both = report.clone();
    both.extend([0x81, 203, 0, 1]);
    both.extend(ssrc);
    [both, bye]
}

#[test]
fn spraying_every_rtp_port_during_setup_neither_leaks_nor_injects_media() {
    // security.md row 9: at most five injected packets before the latch; here none.
    let server = Server::start();
    let mut talk = MediaCall::new(&server);
    let mut thieves: Vec<RtpEndpoint> = [LOCALHOST, LOCALHOST, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 21))]
        .into_iter()
        .map(RtpEndpoint::new)
        .collect();
    let spray = |thieves: &mut Vec<RtpEndpoint>| {
        for attacker in thieves {
            attacker.sequence = attacker.sequence.wrapping_add(1);
            let packet = RtpEndpoint::packet(attacker.sequence, THIEF, SAYS_THIEF);
            for port in range(&server) {
                let _ = attacker.rtp.send_to(&packet, (LOCALHOST, port));
            }
        }
    };
    let body = talk.a.sdp();
    let number = talk.b.number.clone();
    let dialling = talk.a.invite(&number, "", &body);
    talk.a.send(dialling.text.as_bytes());
    let invite = talk.b.expect_request("INVITE");
    spray(&mut thieves);
    talk.b.answer(&invite, 180, "", "");
    spray(&mut thieves);
    talk.b.answer(&invite, 200, "", &talk.b.sdp());
    spray(&mut thieves);
    let ok = talk.a.expect_final("INVITE");
    let caller = talk.a.send_ack(&dialling, &ok);
    talk.b.expect_request("ACK");
    let up = EstablishedCall { caller, callee: talk.b.callee_side(&invite) };
    let (mut at_a, mut at_b, mut bled) = (Vec::new(), Vec::new(), 0);
    // The phones start to send with a delay, one after the other, while the spray continues.
    let (to_a, to_b) = (rtp_address(&up.caller.sdp), rtp_address(&up.callee.sdp));
    for round in 0..60 {
        if round >= 5 {
            talk.voice_a.send(to_a, A, SAYS_A);
        }
        if round >= 10 {
            talk.voice_b.send(to_b, B, SAYS_B);
        }
        spray(&mut thieves);
        at_a.extend(talk.voice_a.received());
        at_b.extend(talk.voice_b.received());
        bled += thieves.iter().map(|attacker| attacker.received().len()).sum::<usize>();
    }
    talk.start_media(&up);
    at_a.extend(talk.voice_a.received());
    at_b.extend(talk.voice_b.received());
    bled += thieves.iter().map(|attacker| attacker.received().len()).sum::<usize>();
    assert!(
        count_payload(&at_a, SAYS_B) > 0 && count_payload(&at_b, SAYS_A) > 0,
        "the phones hear each other"
    );
    assert_eq!(
        (bled, count_payload(&at_a, SAYS_THIEF), count_payload(&at_b, SAYS_THIEF)),
        (0, 0, 0),
        "bled, injected, injected"
    );
}

#[test]
fn rtp_from_another_source_is_dropped_once_the_source_is_latched() {
    // security.md row 9
    let server = Server::start();
    let mut talk = MediaCall::new(&server);
    let up = talk.a.call(&talk.b);
    let (to_a, to_b) = talk.start_media(&up);
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 22));
    let mut thieves = [RtpEndpoint::new(LOCALHOST), RtpEndpoint::new(elsewhere)];
    talk.voice_a.received();
    talk.voice_b.received();
    let (mut at_a, mut at_b, mut bled) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..60_u16 {
        talk.voice_a.send(to_a, A, SAYS_A);
        talk.voice_b.send(to_b, B, SAYS_B);
        for attacker in &mut thieves {
            // A stream of its own, and continuations of the parties' streams.
            for (to, ssrc, sequence) in [(to_a, A, talk.voice_a.sequence), (to_b, B, talk.voice_b.sequence)] {
                attacker.send(to, THIEF, SAYS_THIEF);
                let _ = attacker.rtp.send_to(&RtpEndpoint::packet(sequence + 1, ssrc, SAYS_THIEF), to);
                let above = SocketAddr::new(to.ip(), to.port() + 1);
                for report in rtcp(ssrc) {
                    let _ = attacker.rtcp.send_to(&report, above);
                    let _ = attacker.rtp.send_to(&report, above);
                    let _ = attacker.rtp.send_to(&report, to);
                }
                let _ = attacker.rtp.send_to(&vec![0x80; usize::from(round) * 20], to);
            }
            bled.extend(attacker.received());
        }
        at_a.extend(talk.voice_a.received());
        at_b.extend(talk.voice_b.received());
    }
    until(Duration::from_secs(5), "the phones still hear each other", || {
        talk.voice_a.send(to_a, A, SAYS_A);
        talk.voice_b.send(to_b, B, SAYS_B);
        at_a.extend(talk.voice_a.received());
        at_b.extend(talk.voice_b.received());
        (count_payload(&at_a, SAYS_B) > 40 && count_payload(&at_b, SAYS_A) > 40).then_some(())
    });
    assert_eq!((bled.len(), count_payload(&at_a, SAYS_THIEF), count_payload(&at_b, SAYS_THIEF)), (0, 0, 0));
    let rtcp_bye = |packets: &[Vec<u8>]| {
        packets
            .iter()
            .filter(|p| p.windows(2).any(|w| w == [0x81, 203]) || p.windows(8).any(|w| w == [0x55; 8]))
            .count()
    };
    assert_eq!((rtcp_bye(&at_a), rtcp_bye(&at_b)), (0, 0), "forged reports");
}

#[test]
fn no_rtp_is_sent_after_the_call() {
    // security.md row 9
    let server = Server::start();
    let mut talk = MediaCall::new(&server);
    let mut up = talk.a.call(&talk.b);
    let (to_a, to_b) = talk.start_media(&up);
    talk.a.hang_up(&mut up.caller);
    let bye = talk.b.expect_request("BYE");
    talk.b.answer(&bye, 200, "", "");
    until(Duration::from_secs(5), "the ports are given back", || {
        (server.admin().get("/api/v1/opensips/status").expect(200)["portsInUse"] == 0).then_some(())
    });
    talk.voice_a.received();
    talk.voice_b.received();
    for _ in 0..100 {
        talk.voice_a.send(to_a, A, SAYS_A);
        talk.voice_b.send(to_b, B, SAYS_B);
    }
    // The next call is established and has audio: packets sent before it would have arrived.
    let up = talk.a.call(&talk.b);
    let next = (rtp_address(&up.caller.sdp), rtp_address(&up.callee.sdp));
    assert!(next.0 != to_a && next.1 != to_b, "ports are not used again at once");
    assert_eq!((talk.voice_a.received().len(), talk.voice_b.received().len()), (0, 0));
    talk.start_media(&up);
}

#[test]
fn an_unauthenticated_re_invite_cannot_redirect_the_media_of_a_call() {
    // security.md row 9: a change of the latched source needs a re-INVITE by the phone.
    let server = Server::start();
    let mut talk = MediaCall::new(&server);
    let up = talk.a.call(&talk.b);
    let (to_a, to_b) = talk.start_media(&up);
    let attacker_rtp = RtpEndpoint::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 23)));
    let mut attacker = Raw::at(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 23)), server.sip(), "x", "");
    attacker.media = attacker_rtp.address();
    let body = attacker.sdp();
    for side in [&up.caller, &up.callee] {
        for method in ["INVITE", "UPDATE", "ACK", "PRACK"] {
            let mut side: DialogSide = DialogSide { cseq: side.cseq + 7, ..side.clone() };
            let text =
                attacker.in_dialog_request(&mut side, method, "Content-Type: application/sdp\r\n", &body);
            attacker.send(text.as_bytes());
        }
    }
    assert!(e2e::wire::alive(server.sip()));
    talk.voice_a.received();
    let mut heard = 0;
    until(Duration::from_secs(5), "the phones still hear each other", || {
        talk.voice_a.send(to_a, A, SAYS_A);
        talk.voice_b.send(to_b, B, SAYS_B);
        heard += count_payload(&talk.voice_a.received(), SAYS_B);
        (heard > 20).then_some(())
    });
    assert!(attacker_rtp.received().is_empty());
}
