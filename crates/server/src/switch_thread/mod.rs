//! The thread that owns the switch: no lock, no task per message, no await between a datagram and its answer.

mod busy_poll;
mod connections;
mod crash;
mod event_loop;
mod handle;
mod listening;
mod published;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use base::Rng;
use media::MediaCommand;
use mio::{Poll, Token};
use model::Directory;
use sip::Transport;
use switch::Input;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::Listen;
use crate::dns::Dns;
use crate::holder::{self, Protocol};
use crate::journal::Journal;
use crate::limits::{COMMANDS_IN_FLIGHT, FRAMES_IN_FLIGHT};
use crate::net::tcp::{ConnEvent, Connections, Inbox};
use crate::net::udp::UdpListener;
use crate::net::{LoopWaker, tcp};
use crate::supervisor::Supervisor;
use crate::tr;

use connections::ConnectionTable;
use event_loop::EventLoop;
pub use handle::{SwitchHandle, SwitchMsg};
pub use published::Published;
use published::Snapshot;

/// The bell's token; listeners have their number in the configuration.
const BELL: Token = Token(usize::MAX);

/// The way to the media workers.
pub trait MediaDispatch: Send {
    /// Hand the commands of one iteration to a worker.
    fn send(&self, worker: u8, commands: Vec<MediaCommand>);

    /// The exchange knows that this worker began anew: what is sent from now on is meant for the new one.
    fn reopen(&self, worker: u8);
}

/// The queues of an exchange that does not run yet, so that others can be given its door before.
#[derive(Debug)]
pub struct SwitchChannels {
    poll: Poll,
    waker: Arc<LoopWaker>,
    orders: std::sync::mpsc::Receiver<SwitchMsg>,
    inbox: Inbox,
    frames: tokio::sync::mpsc::Receiver<ConnEvent>,
    listening: watch::Sender<bool>,
    published: Arc<Published>,
}

/// A desk, and the door to it.
pub fn channel() -> io::Result<(SwitchHandle, SwitchChannels)> {
    let poll = Poll::new()?;
    let waker = Arc::new(LoopWaker::new(poll.registry(), BELL)?);
    let (sender, orders) = std::sync::mpsc::channel();
    let (inbox, frames) = Inbox::new(FRAMES_IN_FLIGHT, Arc::clone(&waker));
    let (listening, listens) = watch::channel(false);
    let published = Arc::<Published>::default();
    let switch_handle =
        SwitchHandle::new(sender, Arc::clone(&waker), listens, COMMANDS_IN_FLIGHT, Arc::clone(&published));
    Ok((switch_handle, SwitchChannels { poll, waker, orders, inbox, frames, listening, published }))
}

/// What an exchange is made of.
pub struct Setup {
    /// The switch's own part; its listeners are filled in here.
    pub switch: switch::Config,
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// The address to show instead of the listeners' own.
    pub public: Option<IpAddr>,
    /// The clock of the process.
    pub clock: Clock,
    /// Seeds the switch.
    pub rng: Rng,
    /// Where bindings and calls are written down.
    pub journal: Journal,
    /// Number and limits of connections.
    pub connections: Arc<Connections>,
    /// Runs the tasks of connections.
    pub runtime: tokio::runtime::Handle,
    /// The media workers.
    pub voice: Box<dyn MediaDispatch>,
    /// The DNS.
    pub dns: Dns,
    /// Takes what voicemail wants.
    pub notes: tokio::sync::mpsc::UnboundedSender<switch::voicemail::VoicemailEffect>,
    /// Where settings go that people dial.
    pub settings: tokio::sync::mpsc::UnboundedSender<(u64, switch::SettingChange)>,
    /// Everything that is looked up.
    pub directory: Directory,
    /// What is remembered: [`Input::Restore`].
    pub restore: Input,
    /// Watches over the thread and its tasks.
    pub supervisor: Supervisor,
    /// Where an input is described that the switch panicked on.
    pub crashes: PathBuf,
}

/// An exchange could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be opened.
    #[error("{}", cannot_open(listen, source))]
    Bind {
        /// Which.
        listen: Listen,
        /// Why.
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("the thread of the exchange cannot be started: {0}")]
    Thread(io::Error),
}

fn cannot_open(listen: &Listen, source: &io::Error) -> String {
    let protocol = if listen.transport == Transport::Udp { Protocol::Udp } else { Protocol::Tcp };
    let why = holder::why_not(protocol, listen.address, source);
    tr!("sip.listen: {listen} cannot be opened: {why}", "sip.listen: no se puede abrir {listen}: {why}")
}

/// A running exchange.
#[derive(Debug)]
pub struct SwitchThread {
    thread: JoinHandle<()>,
    /// Where its listeners really are, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
}

impl SwitchThread {
    /// Open the listeners and run.
    pub fn start(desk: SwitchChannels, setup: Setup) -> Result<SwitchThread, StartError> {
        let sockets = Sockets::open(&setup.listen, setup.public)?;
        let addresses = sockets.addresses();
        let listen: Vec<Listen> = setup
            .listen
            .iter()
            .zip(&addresses)
            .map(|(listen, address)| Listen { transport: listen.transport, address: *address })
            .collect();
        let config = switch::Config {
            listeners: listen
                .iter()
                .map(|listen| switch::Listener { transport: listen.transport, address: listen.address })
                .collect(),
            public_address: setup.public,
            source_address: source_address(),
            ..setup.switch
        };
        if let Input::Restore { bindings, .. } = &setup.restore {
            let lost = bindings.iter().filter(|binding| config.listener_of(binding).is_none()).count();
            if lost > 0 {
                tracing::warn!(
                    lost,
                    "registrations came over listeners that are not configured any more; they are dropped"
                );
            }
        }
        let switch = switch::Switch::new(config, setup.rng);
        let epoch = setup.connections.epoch();
        let mut run = EventLoop {
            poll: desk.poll,
            waker: desk.waker,
            orders: desk.orders,
            inbox: desk.inbox,
            frames: desk.frames,
            listening: desk.listening,
            listen,
            public: setup.public,
            sockets: Sockets::default(),
            clock: setup.clock,
            core: event_loop::Core { switch, handling: crash::Handling::default() },
            journal: setup.journal,
            connections: setup.connections,
            runtime: setup.runtime,
            voice: setup.voice,
            dns: setup.dns,
            notes: setup.notes,
            settings: setup.settings,
            lines: ConnectionTable::new(epoch),
            work: event_loop::Scratch::default(),
            pace: busy_poll::BusyPoller::default(),
            published: desk.published,
            snapshot: Snapshot::default(),
            supervisor: setup.supervisor.clone(),
            refused: crash::Refused::read(&setup.crashes, setup.clock.now()),
            crashes: setup.crashes,
        };
        let begin = [
            Input::Directory { directory: Box::new(setup.directory), changes: Arc::from([]) },
            setup.restore,
        ];
        let watch = setup.supervisor.watch("exchange");
        let exchange = move || {
            run.run(begin, sockets);
            watch.ended();
        };
        let thread = std::thread::Builder::new()
            .name("exchange".into())
            .stack_size(2 * 1024 * 1024)
            .spawn(exchange)
            .map_err(StartError::Thread)?;
        Ok(SwitchThread { thread, addresses })
    }

    /// Wait until the exchange has ended; it does when it is told [`SwitchMsg::Quit`].
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the exchange ended in a panic");
        }
    }
}

/// The address by which this machine reaches the world: what a listener on all addresses is shown as. Nothing is sent for it.
fn source_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:5060").ok()?; // TEST-NET-1 (RFC 5737): any address that is not ours
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

/// The SIP listeners that are open.
#[derive(Debug, Default)]
struct Sockets {
    udp: Vec<UdpListener>,
    streams: Vec<(u16, std::net::TcpListener)>,
    accepting: Vec<tokio::task::AbortHandle>,
}

impl Sockets {
    /// Open all of `listen`, or none.
    fn open(listen: &[Listen], public: Option<IpAddr>) -> Result<Sockets, StartError> {
        let mut sockets = Sockets::default();
        for (index, listen) in (0..).zip(listen) {
            let failed = |source| StartError::Bind { listen: *listen, source };
            match listen.transport {
                Transport::Udp => {
                    sockets.udp.push(UdpListener::bind(index, listen.address, public).map_err(failed)?);
                }
                Transport::Tcp => {
                    sockets.streams.push((index, tcp::bind(listen.address).map_err(failed)?));
                }
                Transport::Tls | Transport::Ws | Transport::Wss => {
                    return Err(failed(io::Error::new(
                        io::ErrorKind::Unsupported,
                        "not yet in this version",
                    )));
                }
            }
        }
        Ok(sockets)
    }

    /// Where they are, in the order of their numbers.
    fn addresses(&self) -> Vec<SocketAddr> {
        let udp = self.udp.iter().map(|listener| (listener.index(), listener.address()));
        let streams =
            self.streams.iter().filter_map(|(index, listener)| Some((*index, listener.local_addr().ok()?)));
        let mut all: Vec<(u16, SocketAddr)> = udp.chain(streams).collect();
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, address)| address).collect()
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for task in &self.accepting {
            task.abort();
        }
    }
}
