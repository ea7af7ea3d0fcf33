//! Handle of the switch thread: how other threads and tasks send messages and commands to it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use media::MediaEvent;
use model::{Change, Directory};
use switch::voicemail::{Clip, PromptSet};
use switch::{Command, Reply};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::published::Published;
use crate::limits::COMMAND_TIMEOUT;
use crate::net::LoopWaker;

/// A message to the switch thread.
#[derive(Debug)]
pub enum SwitchMsg {
    /// A new version of the directory.
    Directory {
        /// The snapshot.
        directory: Box<Directory>,
        /// The differences to the previous snapshot.
        changes: Arc<[Change]>,
    },
    /// An event of a media worker.
    Media(MediaEvent),
    /// A DNS answer.
    Resolved {
        /// Token of the question, chosen by the switch.
        token: u64,
        /// The answer.
        answer: sip::resolve::Answer,
    },
    /// A command.
    Command {
        /// The command.
        command: Command,
        /// Receives the reply; closed when the client no longer waits.
        reply_to: oneshot::Sender<Reply>,
        /// Its slot in the queue. The permit travels with the message, not with the client's future: a command whose client is gone counts until the
        /// loop has taken it, so clients that send and disconnect cannot make the queue grow.
        permit: OwnedSemaphorePermit,
    },
    /// The decoded prompts.
    Prompts(Arc<PromptSet>),
    /// An audio file that voicemail plays; `None` if it does not exist.
    Fetched {
        /// Token of [`switch::voicemail::VoicemailEffect::Fetch`].
        token: u64,
        /// The decoded audio.
        clip: Option<Clip>,
    },
    /// Result of storing an announced message in a mailbox.
    Deposited {
        /// Token of [`switch::voicemail::VoicemailEffect::DepositClip`].
        token: u64,
        /// Whether it is stored.
        done: bool,
    },
    /// Result of writing a setting changed by feature code.
    SettingChanged {
        /// Token of [`switch::Output::Setting`].
        token: u64,
        /// Whether it is stored.
        done: bool,
    },
    /// End the loop after the current iteration.
    Quit,
}

/// Handle of the switch thread. Clones refer to the same thread.
#[derive(Clone, Debug)]
pub struct SwitchHandle {
    messages: Sender<SwitchMsg>,
    waker: Arc<LoopWaker>,
    listening: watch::Receiver<bool>,
    permits: Arc<Semaphore>,
    /// Whether the last command was refused because the queue was full: logged once, not per command.
    full: Arc<AtomicBool>,
    published: Arc<Published>,
}

impl SwitchHandle {
    pub(super) fn new(
        messages: Sender<SwitchMsg>,
        waker: Arc<LoopWaker>,
        listening: watch::Receiver<bool>,
        capacity: usize,
        published: Arc<Published>,
    ) -> SwitchHandle {
        let permits = Arc::new(Semaphore::new(capacity));
        SwitchHandle { messages, waker, listening, permits, full: Arc::default(), published }
    }

    /// Queue a message. Messages of one sender are handled in order.
    pub fn send(&self, message: SwitchMsg) {
        if self.messages.send(message).is_ok() {
            self.waker.wake();
        }
    }

    /// Send a command and wait for its reply; `None` if the thread has ended, the queue is full, or the reply takes longer than
    /// [`COMMAND_TIMEOUT`]. Cancel-safe: a command that the loop has not yet taken when the future is dropped is not executed.
    pub async fn ask(&self, command: Command) -> Option<Reply> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            if !self.full.swap(true, Ordering::Relaxed) {
                tracing::warn!("the command queue of the switch is full: commands are refused");
            }
            return None;
        };
        self.full.store(false, Ordering::Relaxed);
        let (reply_to, reply) = oneshot::channel();
        self.send(SwitchMsg::Command { command, reply_to, permit });
        tokio::time::timeout(COMMAND_TIMEOUT, reply).await.ok()?.ok()
    }

    /// The status snapshot and metrics that the loop publishes.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// Wait until the SIP listeners are open, or closed.
    pub async fn until_listening(&self, open: bool) {
        let mut listening = self.listening.clone();
        // An error means that the thread has ended, and its listeners are closed.
        listening.wait_for(|now| *now == open).await.ok();
    }
}

impl api::SwitchPort for SwitchHandle {
    fn ask(&self, command: Command) -> Pin<Box<dyn Future<Output = Option<Reply>> + Send>> {
        let switch_handle = self.clone();
        Box::pin(async move { SwitchHandle::ask(&switch_handle, command).await })
    }

    fn publish(&self, directory: Directory, changes: Arc<[Change]>) {
        self.send(SwitchMsg::Directory { directory: Box::new(directory), changes });
    }

    fn status(&self) -> Option<Arc<switch::Status>> {
        self.published.status()
    }

    fn heartbeat(&self) -> Option<base::Instant> {
        self.published.heartbeat()
    }
}
