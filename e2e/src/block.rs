//! Blocks of ports: one participant takes one, and no other test uses it at the same time.

use std::net::{TcpListener, UdpSocket};

/// Number of ports in a block.
const WIDTH: u16 = 400;
/// Below the kernel's range of ephemeral ports.
const FIRST: u16 = 10_000;
const BLOCKS: u16 = 55;
/// Guard sockets listen on an address that nothing else uses, so that they are never in the way of a listener.
const GUARD: &str = "127.0.0.9";

/// Four hundred consecutive ports. A listening socket on the guard address holds the block across processes until it is dropped, so tests that run
/// at the same time never race for a port.
#[derive(Debug)]
pub struct Block {
    base: u16,
    _guard: TcpListener,
}

impl Block {
    /// # Panics
    /// If every block is taken.
    pub fn take() -> Self {
        let start = (std::process::id() as u16).wrapping_mul(7) % BLOCKS;
        for step in 0..BLOCKS {
            let base = FIRST + (start + step) % BLOCKS * WIDTH;
            let Ok(guard) = TcpListener::bind((GUARD, base)) else { continue };
            // A process that does not know the guards may use these ports.
            let usable = (base..base + 20).all(|port| {
                UdpSocket::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok()
            });
            if usable {
                return Self { base, _guard: guard };
            }
        }
        panic!("every block of ports is taken");
    }

    /// The port at `offset` in the block.
    pub fn port(&self, offset: u16) -> u16 {
        assert!(offset < WIDTH, "a block has {WIDTH} ports");
        self.base + offset
    }

    /// The part of the block for RTP, both ends included.
    pub fn rtp(&self) -> (u16, u16) {
        (self.base + 60, self.base + WIDTH - 1)
    }
}
