//! DNS resolution: a trunk's name is resolved by SRV through a real DNS server.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base::{Rng, Timestamp};
use media::MediaCommand;
use model::{CallerId, Change, Directory, Trunk, TrunkHost, TrunkId, TrunkSettings, TrunkTransport};
use server::clock::Clock;
use server::config::Listen;
use server::dns::Dns;
use server::journal::{Journal, Pending, restore};
use server::limits::ConnLimits;
use server::net::tcp::Connections;
use server::supervisor::Supervisor;
use server::switch_thread::{MediaDispatch, Setup, SwitchMsg, SwitchThread, channel};
use sip::Transport;
use store::RuntimeState;

const LOCALHOST: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

struct NoMedia;

impl MediaDispatch for NoMedia {
    fn send(&self, _worker: u8, _commands: Vec<MediaCommand>) {}
    fn reopen(&self, _worker: u8) {}
}

/// A DNS server of one zone: SRV of `_sip._udp.carrier.test` is `host.carrier.test` at `port`, which is 127.0.0.1.
struct Zone {
    address: SocketAddr,
    queries: Arc<AtomicU32>,
}

fn zone(port: u16) -> Zone {
    let socket = UdpSocket::bind(LOCALHOST).unwrap();
    let (address, queries) = (socket.local_addr().unwrap(), Arc::new(AtomicU32::new(0)));
    let counter = Arc::clone(&queries);
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = socket.send_to(&answer(&buffer[..len], port), from);
        }
    });
    Zone { address, queries }
}

fn name(labels: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        labels.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// Answer a query by hand (RFC 1035 §4): the header, the question, and the record if there is one.
fn answer(query: &[u8], port: u16) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let (question, kind) =
        (query[12..end].to_ascii_lowercase(), u16::from_be_bytes([query[end], query[end + 1]]));
    let data = match kind {
        33 if question == name("_sip._udp.carrier.test") => {
            let fixed = [10_u16, 10, port].map(u16::to_be_bytes).concat();
            Some([fixed, name("host.carrier.test")].concat())
        }
        1 if question == name("host.carrier.test") => Some(vec![127, 0, 0, 1]),
        _ => None,
    };
    let mut reply = query[..2].to_vec();
    reply.extend([
        0x81,
        if data.is_some() { 0x80 } else { 0x83 },
        0,
        1,
        0,
        u8::from(data.is_some()),
        0,
        0,
        0,
        0,
    ]);
    reply.extend(&query[12..end + 4]);
    if let Some(data) = data {
        reply.extend([0xc0, 12]);
        reply.extend(
            [kind.to_be_bytes(), [0, 1], [0, 0], [0, 60], (data.len() as u16).to_be_bytes()].concat(),
        );
        reply.extend(data);
    }
    reply
}

fn trunk(host: &str) -> Trunk {
    let host =
        TrunkHost { host: host.into(), port: None, transport: TrunkTransport::Udp, priority: 10, weight: 10 };
    Trunk {
        id: TrunkId::parse("trunk_1").unwrap(),
        name: "Carrier".into(),
        enabled: true,
        priority: 10,
        settings: TrunkSettings { hosts: vec![host], caller_id: CallerId::Own, ..TrunkSettings::default() },
        password: None,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

// S123, DNS SRV failover
#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_without_a_port_is_resolved_by_srv_and_probed_with_options() {
    let carrier = UdpSocket::bind(LOCALHOST).unwrap();
    carrier.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let zone = zone(carrier.local_addr().unwrap().port());
    let folder: PathBuf = std::env::temp_dir().join(format!("centralita-dns-{}", std::process::id()));
    let opened = Journal::open(&folder, 1 << 20).unwrap();
    let (switch_handle, channels) = channel().unwrap();
    let mut directory = Directory::default();
    directory.apply(Change::Trunk(Box::new(trunk("carrier.test"))));
    let setup = Setup {
        switch: switch::Config::default(),
        listen: vec![Listen { transport: Transport::Udp, address: SocketAddr::from(LOCALHOST) }],
        public: None,
        clock: Clock::start(),
        rng: Rng::from_number(1),
        journal: opened.journal,
        connections: Connections::new(1, ConnLimits::default()),
        runtime: tokio::runtime::Handle::current(),
        media: Box::new(NoMedia),
        voicemail: tokio::sync::mpsc::unbounded_channel().0,
        settings: tokio::sync::mpsc::unbounded_channel().0,
        dns: Dns::new(&[zone.address], switch_handle.clone()),
        directory,
        restore: restore(RuntimeState::default(), &Pending::default()),
        supervisor: Supervisor::default(),
        crashes: std::env::temp_dir(),
    };
    let switch_thread = SwitchThread::start(channels, setup).unwrap();
    let mut buffer = [0; 4096];
    let len = tokio::task::block_in_place(|| carrier.recv(&mut buffer)).expect("OPTIONS");
    let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
    assert!(text.starts_with("OPTIONS sip:carrier.test;transport=udp SIP/2.0"), "{text}");
    assert!(zone.queries.load(Ordering::SeqCst) >= 2);
    switch_handle.send(SwitchMsg::Quit);
    tokio::task::block_in_place(|| switch_thread.join());
    let _ = std::fs::remove_dir_all(folder);
}
