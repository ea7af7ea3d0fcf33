//! How everybody else speaks with the exchange's thread.

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

/// What the exchange is asked to absorb besides messages.
#[derive(Debug)]
pub enum SwitchMsg {
    /// A new directory.
    Directory {
        /// The snapshot.
        directory: Box<Directory>,
        /// What is different in it.
        changes: Arc<[Change]>,
    },
    /// From a media worker.
    Media(MediaEvent),
    /// From the DNS.
    Resolved {
        /// The exchange's.
        token: u64,
        /// What it says.
        answer: sip::resolve::Answer,
    },
    /// A command, and where its reply goes.
    Command {
        /// What is asked.
        command: Command,
        /// Where the reply goes; closed once the asker no longer waits.
        asker: oneshot::Sender<Reply>,
        /// Its place in the queue. It lies in the queue itself, not with the asker: commands whose asker is gone count until the loop has
        /// taken them, so a client that asks and hangs up cannot make the queue grow.
        permit: OwnedSemaphorePermit,
    },
    /// What voicemail says.
    Prompts(Arc<PromptSet>),
    /// A file that voicemail plays, or none where it is not there.
    Fetched {
        /// Of which [`switch::voicemail::Note::Fetch`].
        token: u64,
        /// The audio.
        clip: Option<Clip>,
    },
    /// A message that nobody spoke lies in its box, or could not be put there.
    Deposited {
        /// Of which [`switch::voicemail::Note::Spoken`].
        token: u64,
        /// It lies there.
        done: bool,
    },
    /// A setting that somebody dialled is written, or could not be.
    SettingChanged {
        /// Of which [`switch::Output::Setting`].
        token: u64,
        /// It is written.
        done: bool,
    },
    /// Finish what was begun and end the thread.
    Quit,
}

/// The door. Clones lead to the same exchange.
#[derive(Clone, Debug)]
pub struct SwitchHandle {
    orders: Sender<SwitchMsg>,
    waker: Arc<LoopWaker>,
    listening: watch::Receiver<bool>,
    permits: Arc<Semaphore>,
    /// Whether the last command found the queue full: that is logged once, not once per command.
    full: Arc<AtomicBool>,
    published: Arc<Published>,
}

impl SwitchHandle {
    pub(super) fn new(
        orders: Sender<SwitchMsg>,
        waker: Arc<LoopWaker>,
        listening: watch::Receiver<bool>,
        most: usize,
        published: Arc<Published>,
    ) -> SwitchHandle {
        let permits = Arc::new(Semaphore::new(most));
        SwitchHandle { orders, waker, listening, permits, full: Arc::default(), published }
    }

    /// Hand in an order. Order of calls is order of absorption.
    pub fn put(&self, order: SwitchMsg) {
        if self.orders.send(order).is_ok() {
            self.waker.ring();
        }
    }

    /// Ask, and wait for the answer; `None` where the exchange is gone, too busy, or silent for [`COMMAND_TIMEOUT`]. May be dropped at any
    /// time: then a command that the loop has not yet taken is not carried out.
    pub async fn ask(&self, command: Command) -> Option<Reply> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            if !self.full.swap(true, Ordering::Relaxed) {
                tracing::warn!("the command queue of the exchange is full: commands are refused");
            }
            return None;
        };
        self.full.store(false, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        self.put(SwitchMsg::Command { command, asker, permit });
        tokio::time::timeout(COMMAND_TIMEOUT, answer).await.ok()?.ok()
    }

    /// What the loop publishes about itself.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// Wait until the SIP listeners are open, or closed.
    pub async fn until_listening(&self, open: bool) {
        let mut listening = self.listening.clone();
        // An error means that the exchange is gone, and its listeners with it.
        listening.wait_for(|now| *now == open).await.ok();
    }
}

impl api::SwitchPort for SwitchHandle {
    fn ask(&self, command: Command) -> Pin<Box<dyn Future<Output = Option<Reply>> + Send>> {
        let switch_handle = self.clone();
        Box::pin(async move { SwitchHandle::ask(&switch_handle, command).await })
    }

    fn publish(&self, directory: Directory, changes: Arc<[Change]>) {
        self.put(SwitchMsg::Directory { directory: Box::new(directory), changes });
    }

    fn status(&self) -> Option<Arc<switch::Status>> {
        self.published.status()
    }

    fn heartbeat(&self) -> Option<base::Instant> {
        self.published.heartbeat()
    }
}
