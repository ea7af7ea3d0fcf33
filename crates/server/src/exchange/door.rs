//! How everybody else speaks with the exchange's thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use media::MediaEvent;
use model::{Change, Directory};
use switch::voicemail::{Clip, Prompts};
use switch::{Command, Reply};
use tokio::sync::{oneshot, watch};

use crate::limits::COMMAND_TIMEOUT;
use crate::net::Bell;

/// What the exchange is asked to absorb besides messages.
#[derive(Debug)]
pub enum Order {
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
    /// A question, and where its answer goes.
    Command {
        /// The question.
        command: Command,
        /// Its asker.
        asker: oneshot::Sender<Reply>,
    },
    /// What voicemail says.
    Prompts(Arc<Prompts>),
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
pub struct Door {
    orders: Sender<Order>,
    bell: Arc<Bell>,
    listening: watch::Receiver<bool>,
    waiting: Arc<AtomicUsize>,
    most: usize,
}

impl Door {
    pub(super) fn new(
        orders: Sender<Order>,
        bell: Arc<Bell>,
        listening: watch::Receiver<bool>,
        most: usize,
    ) -> Door {
        Door { orders, bell, listening, waiting: Arc::default(), most }
    }

    /// Hand in an order. Order of calls is order of absorption.
    pub fn put(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            self.bell.ring();
        }
    }

    /// Ask, and wait for the answer; `None` where the exchange is gone or too busy.
    pub async fn ask(&self, command: Command) -> Option<Reply> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!("the exchange has too many questions to answer");
            return None;
        }
        let (asker, answer) = oneshot::channel();
        self.put(Order::Command { command, asker });
        let reply = tokio::time::timeout(COMMAND_TIMEOUT, answer).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        reply.ok()?.ok()
    }

    /// Wait until the SIP listeners are open, or closed.
    pub async fn until_listening(&self, open: bool) {
        let mut listening = self.listening.clone();
        // An error means that the exchange is gone, and its listeners with it.
        listening.wait_for(|now| *now == open).await.ok();
    }
}

impl api::SwitchPort for Door {
    fn ask(&self, command: Command) -> Pin<Box<dyn Future<Output = Option<Reply>> + Send>> {
        let door = self.clone();
        Box::pin(async move { Door::ask(&door, command).await })
    }

    fn publish(&self, directory: Directory, changes: Arc<[Change]>) {
        self.put(Order::Directory { directory: Box::new(directory), changes });
    }
}
