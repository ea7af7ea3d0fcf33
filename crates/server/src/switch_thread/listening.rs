//! Opens and closes the SIP listeners at the request of the switch.

use std::sync::Arc;

use mio::Token;
use switch::Input;

use super::event_loop::EventLoop;
use super::listeners::SipListeners;
use crate::net::tcp::accept;

impl EventLoop {
    /// Open or close the listeners, and report the result to the switch.
    pub(super) fn listen(&mut self, open: bool) {
        let is_open = !self.listeners.udp.is_empty() || !self.listeners.accepting.is_empty();
        if open == is_open {
            self.scratch.deferred.push(Input::Listening(open));
            return;
        }
        if open {
            match SipListeners::open(&self.listen, self.public) {
                Ok(listeners) => self.begin_listening(listeners),
                Err(error) => {
                    tracing::error!(%error, "the SIP listeners cannot be opened");
                    self.scratch.deferred.push(Input::Listening(false));
                }
            }
            return;
        }
        self.listeners = SipListeners::default();
        self.open_connections.close_all(&mut self.scratch.deferred);
        self.scratch.deferred.push(Input::Listening(false));
        self.listening.send_replace(false);
    }

    /// Start reading from listeners that were just opened.
    pub(super) fn begin_listening(&mut self, mut listeners: SipListeners) {
        for (position, listener) in listeners.udp.iter().enumerate() {
            if let Err(error) = listener.register(self.poll.registry(), Token(position)) {
                tracing::error!(%error, listener = %listener.address(), "the listener cannot be registered with the event loop");
            }
        }
        let entered = self.runtime.enter();
        for (index, listener) in std::mem::take(&mut listeners.tcp) {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let (connections, inbox) = (Arc::clone(&self.connections), self.inbox.clone());
                    let (listener, public) = (Arc::new(listener), self.public);
                    let accept = move || {
                        accept(Arc::clone(&listener), index, public, Arc::clone(&connections), inbox.clone())
                    };
                    let task = self.supervisor.task(&self.runtime, "sip-accept", accept);
                    listeners.accepting.push(task.abort_handle());
                }
                Err(error) => {
                    tracing::error!(%error, "the listener cannot be registered with the event loop");
                }
            }
        }
        drop(entered);
        self.listeners = listeners;
        self.scratch.deferred.push(Input::Listening(true));
        self.listening.send_replace(true);
    }
}
