//! The switch thread over real sockets: batches, commands, connections, stop and restart.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::SwitchPort;
use base::{Rng, Timestamp};
use media::MediaCommand;
use model::{Change, Credential, Directory, Ha1, UserId};
use server::clock::Clock;
use server::config::Listen;
use server::dns::Dns;
use server::journal::{Journal, Pending, restore};
use server::limits::{COMMANDS_IN_FLIGHT, ConnLimits};
use server::net::tcp::Connections;
use server::supervisor::Supervisor;
use server::switch_thread::{
    MediaDispatch, Setup, SwitchChannels, SwitchHandle, SwitchMsg, SwitchThread, channel,
};
use sip::Transport;
use store::RuntimeState;
use switch::{Command, Reply, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct NoMedia;

impl MediaDispatch for NoMedia {
    fn send(&self, _worker: u8, _commands: Vec<MediaCommand>) {}
    fn reopen(&self, _worker: u8) {}
}

struct TestSwitch {
    switch_handle: SwitchHandle,
    thread: Option<SwitchThread>,
    folder: PathBuf,
}

impl TestSwitch {
    fn start(name: &str, host: &str) -> TestSwitch {
        let (switch_handle, channels) = channel().unwrap();
        TestSwitch::run(name, host, switch_handle, channels)
    }

    fn run(name: &str, host: &str, switch_handle: SwitchHandle, channels: SwitchChannels) -> TestSwitch {
        let folder = std::env::temp_dir().join(format!("centralita-exchange-{}-{name}", std::process::id()));
        let opened = Journal::open(&folder, 1 << 20).unwrap();
        let address: SocketAddr = format!("{host}:0").parse().unwrap();
        let listen = [Transport::Udp, Transport::Tcp].map(|transport| Listen { transport, address }).to_vec();
        let setup = Setup {
            switch: switch::Config::default(),
            listen,
            public: None,
            clock: Clock::start(),
            rng: Rng::from_number(1),
            journal: opened.journal,
            connections: Connections::new(1, ConnLimits::default()),
            runtime: tokio::runtime::Handle::current(),
            media: Box::new(NoMedia),
            dns: Dns::new(&[], switch_handle.clone()),
            voicemail: tokio::sync::mpsc::unbounded_channel().0,
            settings: tokio::sync::mpsc::unbounded_channel().0,
            directory: Directory::default(),
            restore: restore(RuntimeState::default(), &Pending::default()),
            supervisor: Supervisor::default(),
            crashes: folder.join("crash"),
        };
        let thread = SwitchThread::start(channels, setup).unwrap();
        TestSwitch { switch_handle, thread: Some(thread), folder }
    }

    fn udp(&self) -> SocketAddr {
        self.thread.as_ref().unwrap().addresses[0]
    }

    fn tcp(&self) -> SocketAddr {
        self.thread.as_ref().unwrap().addresses[1]
    }

    async fn state(&self) -> State {
        match self.switch_handle.ask(Command::Status).await {
            Some(Reply::Status(status)) => status.state,
            reply => panic!("{reply:?}"),
        }
    }

    fn journal_holds(&self, text: &str) -> bool {
        let files = std::fs::read_dir(&self.folder)
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        files.flatten().collect::<Vec<u8>>().windows(text.len()).any(|window| window == text.as_bytes())
    }
}

impl Drop for TestSwitch {
    fn drop(&mut self) {
        self.switch_handle.send(SwitchMsg::Quit);
        self.thread.take().unwrap().join();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn options(n: usize, transport: &str, local: SocketAddr) -> String {
    format!(
        "OPTIONS sip:localhost SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bK{n};rport\r\n\
         From: <sip:a@localhost>;tag=1\r\nTo: <sip:localhost>\r\nCall-ID: call{n}\r\nCSeq: 1 OPTIONS\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

fn register(local: SocketAddr, authorization: &str, cseq: u32) -> String {
    format!(
        "REGISTER sip:localhost SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKr{cseq};rport\r\n\
         From: <sip:phone@localhost>;tag=1\r\nTo: <sip:phone@localhost>\r\nCall-ID: reg\r\nCSeq: {cseq} REGISTER\r\n\
         Contact: <sip:phone@{local}>\r\nMax-Forwards: 70\r\n{authorization}Content-Length: 0\r\n\r\n"
    )
}

fn phone() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn request(socket: &UdpSocket, to: SocketAddr, message: &str) -> String {
    socket.send_to(message.as_bytes(), to).unwrap();
    let mut buffer = [0; 4096];
    let (len, from) = socket.recv_from(&mut buffer).expect("an answer");
    assert_eq!(from, to, "the response comes from the address that was used");
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

/// A directory change that adds a credential.
fn credential() -> Change {
    Change::Credential(Credential {
        username: "phone".into(),
        user: UserId::parse("u").unwrap(),
        extension: None,
        ha1: Ha1::new("phone", "localhost", "secret"),
        ha1_by_number: None,
        created_at: Timestamp::default(),
    })
}

fn publish(test_switch: &TestSwitch) {
    let mut directory = Directory::default();
    directory.apply(credential());
    SwitchPort::publish(&test_switch.switch_handle, directory, Arc::from([credential()]));
}

/// The Authorization header that answers a challenge.
fn answer(challenge: &str) -> String {
    let nonce = challenge.split("nonce=\"").nth(1).expect("a nonce").split('"').next().unwrap();
    let hex = |text: String| format!("{:032x}", u128::from_be_bytes(md5(&text)));
    let (ha1, ha2) = (hex("phone:localhost:secret".into()), hex("REGISTER:sip:localhost".into()));
    let response = hex(format!("{ha1}:{nonce}:00000001:c:auth:{ha2}"));
    format!(
        "Authorization: Digest username=\"phone\", realm=\"localhost\", nonce=\"{nonce}\", uri=\"sip:localhost\", \
         response=\"{response}\", algorithm=MD5, cnonce=\"c\", nc=00000001, qop=auth\r\n"
    )
}

/// MD5 of a text with two colons or more: HA1 is that of `user:realm:password`.
fn md5(text: &str) -> [u8; 16] {
    let mut parts = text.splitn(3, ':');
    let [user, realm, password] = [(); 3].map(|()| parts.next().unwrap());
    Ha1::new(user, realm, password).md5
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_burst_is_answered_to_the_last_datagram() {
    let test_switch = TestSwitch::start("burst", "127.0.0.1");
    let socket = phone();
    let local = socket.local_addr().unwrap();
    for n in 0..100 {
        socket.send_to(options(n, "UDP", local).as_bytes(), test_switch.udp()).unwrap();
    }
    let mut buffer = [0; 4096];
    for _ in 0..100 {
        let len = socket.recv(&mut buffer).expect("an answer for each");
        assert!(buffer[..len].starts_with(b"SIP/2.0 200 "), "{}", String::from_utf8_lossy(&buffer[..len]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wildcard_listener_answers_from_the_address_that_was_reached() {
    let test_switch = TestSwitch::start("wildcard", "0.0.0.0");
    let socket = phone();
    let port = test_switch.udp().port();
    for host in ["127.0.0.1", "127.0.0.2"] {
        let to: SocketAddr = format!("{host}:{port}").parse().unwrap();
        let response = request(&socket, to, &options(1, "UDP", socket.local_addr().unwrap()));
        assert!(response.starts_with("SIP/2.0 200 "), "{response}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_published_credential_registers_at_once_and_is_journaled_before_the_response() {
    let test_switch = TestSwitch::start("register", "127.0.0.1");
    let socket = phone();
    let local = socket.local_addr().unwrap();
    let challenge = request(&socket, test_switch.udp(), &register(local, "", 1));
    assert!(challenge.starts_with("SIP/2.0 401 "), "{challenge}");
    publish(&test_switch);
    let response = request(&socket, test_switch.udp(), &register(local, &answer(&challenge), 2));
    assert!(response.starts_with("SIP/2.0 200 "), "{response}");
    assert!(test_switch.journal_holds("phone@127.0.0.1"));
    match test_switch.switch_handle.ask(Command::Status).await {
        Some(Reply::Status(status)) => assert_eq!(status.registrations, 1),
        reply => panic!("{reply:?}"),
    }
}

/// Poll a future once, then drop it: what hyper does with a handler whose client disconnects.
async fn poll_once(ask: impl Future<Output = Option<Reply>>) -> Option<Option<Reply>> {
    let mut ask = std::pin::pin!(ask);
    std::future::poll_fn(|context| match ask.as_mut().poll(context) {
        std::task::Poll::Ready(reply) => std::task::Poll::Ready(Some(reply)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn clients_that_disconnect_neither_block_the_command_queue_nor_make_it_grow() {
    // The switch thread is not running yet: no command is taken.
    let (switch_handle, channels) = channel().unwrap();
    for n in 0..COMMANDS_IN_FLIGHT {
        assert!(poll_once(switch_handle.ask(Command::Stop { force: true })).await.is_none(), "{n}");
    }
    // The clients are gone, and their commands still fill the queue: further ones are refused at once and not queued.
    for _ in 0..1_000 {
        assert_eq!(poll_once(switch_handle.ask(Command::Status)).await, Some(None));
    }
    let test_switch = TestSwitch::run("hang-up", "127.0.0.1", switch_handle, channels);
    test_switch.switch_handle.until_listening(true).await;
    let free = async {
        while test_switch.switch_handle.ask(Command::Status).await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), free).await.expect("the loop empties its queue");
    // None of the abandoned commands was executed.
    assert_eq!(test_switch.state().await, State::Running);
    // The queue has its full capacity again.
    for _ in 0..COMMANDS_IN_FLIGHT {
        assert!(test_switch.switch_handle.ask(Command::Status).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_idle_switch_publishes_its_heartbeat_and_status() {
    let test_switch = TestSwitch::start("heartbeat", "127.0.0.1");
    test_switch.switch_handle.until_listening(true).await;
    let running = || test_switch.switch_handle.status().is_some_and(|status| status.state == State::Running);
    wait("its status is published", running).await;
    let first = test_switch.switch_handle.heartbeat().expect("a heartbeat");
    wait("an idle loop iterates", || test_switch.switch_handle.heartbeat().is_some_and(|at| at > first))
        .await;
    // A client whose stop command was answered reads no older state.
    test_switch.switch_handle.ask(Command::Stop { force: true }).await.expect("an answer");
    assert_ne!(test_switch.switch_handle.status().expect("a status").state, State::Running);
}

async fn wait(what: &str, mut there: impl FnMut() -> bool) {
    let waiting = async {
        while !there() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap_or_else(|_| panic!("not within 5 s: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_tcp_connection_carries_requests_and_responses() {
    let test_switch = TestSwitch::start("stream", "127.0.0.1");
    let mut stream = tokio::net::TcpStream::connect(test_switch.tcp()).await.unwrap();
    let local = stream.local_addr().unwrap();
    for n in 0..3 {
        stream.write_all(options(n, "TCP", local).as_bytes()).await.unwrap();
        let mut buffer = vec![0; 4096];
        let len =
            tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(buffer[..len].starts_with(b"SIP/2.0 200 "), "{}", String::from_utf8_lossy(&buffer[..len]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_sip_listeners_stop_and_start_again_on_the_same_ports() {
    let test_switch = TestSwitch::start("restart", "127.0.0.1");
    test_switch.switch_handle.until_listening(true).await;
    assert_eq!(test_switch.state().await, State::Running);
    test_switch.switch_handle.ask(Command::Stop { force: false }).await.expect("an answer");
    test_switch.switch_handle.until_listening(false).await;
    assert_eq!(test_switch.state().await, State::Stopped);
    UdpSocket::bind(test_switch.udp()).expect("the port is free");
    test_switch.switch_handle.ask(Command::Start).await.expect("an answer");
    test_switch.switch_handle.until_listening(true).await;
    let socket = phone();
    let response = request(&socket, test_switch.udp(), &options(1, "UDP", socket.local_addr().unwrap()));
    assert!(response.starts_with("SIP/2.0 200 "), "{response}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn binding_a_port_in_use_fails_with_addr_in_use() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = server::net::udp::UdpListener::bind(0, address, None).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
