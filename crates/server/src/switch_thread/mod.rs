//! The thread that owns the switch and its SIP listeners: no lock, no task per message, no await between a datagram and its response.

mod busy_poll;
mod connections;
mod crash;
mod event_loop;
mod handle;
mod listeners;
mod listening;
mod media_dispatch;
mod published;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use base::Rng;
use mio::Poll;
use model::Directory;
use switch::Input;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::Listen;
use crate::dns::Dns;
use crate::journal::Journal;
use crate::limits::{COMMANDS_IN_FLIGHT, FRAMES_IN_FLIGHT};
use crate::net::LoopWaker;
use crate::net::tcp::{ConnEvent, Connections, Inbox};
use crate::supervisor::Supervisor;

use connections::ConnectionTable;
use event_loop::{EventLoop, WAKER};
pub use handle::{SwitchHandle, SwitchMsg};
use listeners::SipListeners;
pub use listeners::StartError;
pub use media_dispatch::MediaDispatch;
pub use published::Published;
use published::Snapshot;

/// The receiving ends of a switch thread that is not started yet, so that its handle can be given to others before.
#[derive(Debug)]
pub struct SwitchChannels {
    poll: Poll,
    waker: Arc<LoopWaker>,
    messages: std::sync::mpsc::Receiver<SwitchMsg>,
    inbox: Inbox,
    conn_events: tokio::sync::mpsc::Receiver<ConnEvent>,
    listening: watch::Sender<bool>,
    published: Arc<Published>,
}

/// Create the channels of a switch thread and its handle.
pub fn channel() -> io::Result<(SwitchHandle, SwitchChannels)> {
    let poll = Poll::new()?;
    let waker = Arc::new(LoopWaker::new(poll.registry(), WAKER)?);
    let (sender, messages) = std::sync::mpsc::channel();
    let (inbox, conn_events) = Inbox::new(FRAMES_IN_FLIGHT, Arc::clone(&waker));
    let (listening, listens) = watch::channel(false);
    let published = Arc::<Published>::default();
    let switch_handle =
        SwitchHandle::new(sender, Arc::clone(&waker), listens, COMMANDS_IN_FLIGHT, Arc::clone(&published));
    Ok((switch_handle, SwitchChannels { poll, waker, messages, inbox, conn_events, listening, published }))
}

/// Everything that a switch thread needs to start.
pub struct Setup {
    /// Configuration of the switch; [`SwitchThread::start`] fills in the listeners.
    pub switch: switch::Config,
    /// The SIP listeners.
    pub listen: Vec<Listen>,
    /// The address to advertise instead of the listeners' own.
    pub public: Option<IpAddr>,
    /// The clock of the process.
    pub clock: Clock,
    /// Random number generator of the switch.
    pub rng: Rng,
    /// Journal of bindings and calls.
    pub journal: Journal,
    /// Numbers and limits of connections.
    pub connections: Arc<Connections>,
    /// Runs the tasks of connections.
    pub runtime: tokio::runtime::Handle,
    /// The media workers.
    pub media: Box<dyn MediaDispatch>,
    /// The DNS.
    pub dns: Dns,
    /// Receives the effects of voicemail.
    pub voicemail: tokio::sync::mpsc::UnboundedSender<switch::voicemail::VoicemailEffect>,
    /// Receives the settings changed by feature codes, with the token of the answer.
    pub settings: tokio::sync::mpsc::UnboundedSender<(u64, switch::SettingChange)>,
    /// The directory of users, extensions and trunks.
    pub directory: Directory,
    /// The state to restore: [`Input::Restore`].
    pub restore: Input,
    /// Supervises the thread and its tasks.
    pub supervisor: Supervisor,
    /// Directory of crash reports, which describe the input that the switch panicked on.
    pub crashes: PathBuf,
}

/// A running switch thread.
#[derive(Debug)]
pub struct SwitchThread {
    thread: JoinHandle<()>,
    /// The bound addresses of its listeners, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
}

impl SwitchThread {
    /// Open the listeners and start the thread.
    pub fn start(channels: SwitchChannels, setup: Setup) -> Result<SwitchThread, StartError> {
        let listeners = SipListeners::open(&setup.listen, setup.public)?;
        let addresses = listeners.addresses();
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
            let dropped = bindings.iter().filter(|binding| config.listener_of(binding).is_none()).count();
            if dropped > 0 {
                tracing::warn!(dropped, "registrations dropped: their listeners are no longer configured");
            }
        }
        let switch = switch::Switch::new(config, setup.rng);
        let epoch = setup.connections.epoch();
        let mut run = EventLoop {
            poll: channels.poll,
            waker: channels.waker,
            messages: channels.messages,
            inbox: channels.inbox,
            conn_events: channels.conn_events,
            listening: channels.listening,
            listen,
            public: setup.public,
            listeners: SipListeners::default(),
            clock: setup.clock,
            core: event_loop::Core { switch, handling: crash::Handling::default() },
            journal: setup.journal,
            connections: setup.connections,
            runtime: setup.runtime,
            media: setup.media,
            dns: setup.dns,
            voicemail: setup.voicemail,
            settings: setup.settings,
            open_connections: ConnectionTable::new(epoch),
            scratch: event_loop::Scratch::default(),
            busy_poller: busy_poll::BusyPoller::default(),
            published: channels.published,
            snapshot: Snapshot::default(),
            supervisor: setup.supervisor.clone(),
            poison: crash::PoisonMessages::read(&setup.crashes, setup.clock.now()),
            crashes: setup.crashes,
        };
        let begin = [
            Input::Directory { directory: Box::new(setup.directory), changes: Arc::from([]) },
            setup.restore,
        ];
        let watch = setup.supervisor.watch("exchange");
        let thread_main = move || {
            run.run(begin, listeners);
            watch.ended();
        };
        let thread = std::thread::Builder::new()
            .name("exchange".into())
            .stack_size(2 * 1024 * 1024)
            .spawn(thread_main)
            .map_err(StartError::Thread)?;
        Ok(SwitchThread { thread, addresses })
    }

    /// Wait for the thread to end; it does on [`SwitchMsg::Quit`].
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the switch thread ended with a panic");
        }
    }
}

/// The source address of this machine's default route, advertised for listeners on all addresses. No packet is sent.
fn source_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:5060").ok()?; // TEST-NET-1 (RFC 5737): any address that is not ours
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}
