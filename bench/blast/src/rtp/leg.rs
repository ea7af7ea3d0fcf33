//! One leg of a call: a socket that sends 50 packets per second, and receives with the kernel's timestamps.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::ptr;

const MAGIC: [u8; 4] = *b"blst";
const PACKET: usize = 172;
/// Packets per system call: usually there is one.
const AT_ONCE: usize = 3;

/// State of a leg.
pub struct Leg {
    socket: UdpSocket,
    port: u16,
    flow: u32,
    to: Option<libc::sockaddr_in>,
    sent: u32,
}

/// A received packet.
pub enum Received {
    /// A packet of one of our legs.
    Audio {
        /// Index of the sending flow.
        flow: usize,
        /// Sequence number, from 1.
        number: u32,
        /// Transit time in nanoseconds.
        delay_ns: u64,
    },
    /// Any other packet.
    Foreign,
}

impl Leg {
    /// Bind `port` for the leg that sends as `flow`.
    pub fn open(port: u16, flow: u32) -> io::Result<Leg> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nonblocking(true)?;
        let on: libc::c_int = 1;
        // SAFETY: the value is an int that outlives the call.
        let done = unsafe {
            let value = (&raw const on).cast();
            let size = mem::size_of::<libc::c_int>() as u32;
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, value, size)
        };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Leg { socket, port, flow, to: None, sent: 0 })
    }

    /// Its local address.
    pub fn local(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)
    }

    /// Set the destination.
    pub fn send_to(&mut self, to: SocketAddrV4) {
        // SAFETY: all zeros is a valid address of C.
        let mut raw: libc::sockaddr_in = unsafe { mem::zeroed() };
        raw.sin_family = libc::AF_INET as u16;
        raw.sin_port = to.port().to_be();
        raw.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
        self.to = Some(raw);
    }

    /// Whether it has a destination.
    pub fn has_destination(&self) -> bool {
        self.to.is_some()
    }

    /// Number of packets sent.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// Send the next packet.
    pub fn send_next(&mut self) {
        let Some(to) = &self.to else { return };
        self.sent += 1;
        let number = self.sent;
        let mut packet = [0xd5_u8; PACKET];
        packet[0] = 0x80;
        packet[1] = if number == 1 { 0x80 } else { 0 };
        packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&number.wrapping_mul(160).to_be_bytes());
        packet[8..12].copy_from_slice(&(0x1000 + self.flow).to_be_bytes());
        packet[12..16].copy_from_slice(&MAGIC);
        packet[16..20].copy_from_slice(&self.flow.to_be_bytes());
        packet[20..24].copy_from_slice(&number.to_be_bytes());
        packet[24..32].copy_from_slice(&wall_ns().to_be_bytes());
        // SAFETY: packet and address are on the stack with the lengths given. A packet that cannot be sent counts as lost.
        unsafe {
            let (data, size) = (packet.as_ptr().cast(), mem::size_of::<libc::sockaddr_in>() as u32);
            libc::sendto(self.socket.as_raw_fd(), data, PACKET, 0, (&raw const *to).cast(), size);
        }
    }

    /// Receive the packets that have arrived.
    pub fn receive(&self, received: &mut Vec<Received>) {
        let mut buffers = [[0_u8; 512]; AT_ONCE];
        let mut controls = [[0_u64; 16]; AT_ONCE];
        // SAFETY: all zeros is a valid header; every header's pointers are to locals that outlive the calls.
        let (mut iovecs, mut headers): ([libc::iovec; AT_ONCE], [libc::mmsghdr; AT_ONCE]) =
            unsafe { mem::zeroed() };
        loop {
            for n in 0..AT_ONCE {
                iovecs[n] =
                    libc::iovec { iov_base: buffers[n].as_mut_ptr().cast(), iov_len: buffers[n].len() };
                let header = &mut headers[n].msg_hdr;
                (header.msg_iov, header.msg_iovlen) = (&raw mut iovecs[n], 1);
                header.msg_control = controls[n].as_mut_ptr().cast();
                header.msg_controllen = mem::size_of_val(&controls[n]) as _;
            }
            // SAFETY: as above.
            let got = unsafe {
                let (fd, flags) = (self.socket.as_raw_fd(), libc::MSG_DONTWAIT);
                libc::recvmmsg(fd, headers.as_mut_ptr(), AT_ONCE as u32, flags, ptr::null_mut())
            };
            let got = usize::try_from(got).unwrap_or(0);
            received.extend((0..got).map(|n| {
                let length = headers[n].msg_len as usize;
                read(buffers[n].get(..length).unwrap_or_default(), stamp(&headers[n].msg_hdr))
            }));
            if got < AT_ONCE {
                return;
            }
        }
    }
}

/// The kernel's receive time of a packet.
fn stamp(header: &libc::msghdr) -> Option<libc::timespec> {
    // SAFETY: the kernel wrote the control messages that the header points to.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        let stamped = !message.is_null() && (*message).cmsg_type == libc::SO_TIMESTAMPNS;
        stamped.then(|| ptr::read_unaligned(libc::CMSG_DATA(message).cast()))
    }
}

fn read(packet: &[u8], stamp: Option<libc::timespec>) -> Received {
    let arrived =
        stamp.map_or_else(wall_ns, |stamp| stamp.tv_sec as u64 * 1_000_000_000 + stamp.tv_nsec as u64);
    if packet.len() < 32 || packet[12..16] != MAGIC {
        return Received::Foreign;
    }
    let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let left = u64::from(word(24)) << 32 | u64::from(word(28));
    Received::Audio { flow: word(16) as usize, number: word(20), delay_ns: arrived.saturating_sub(left) }
}

/// Two sockets per call exceed the usual limit of 1,024 files.
pub fn raise_file_limit() {
    let wanted = libc::rlimit { rlim_cur: 65_536, rlim_max: 65_536 };
    // SAFETY: the limit is on the stack. Without permission to raise it, opening a socket fails later with an error.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) };
}

fn wall_ns() -> u64 {
    // SAFETY: all zeros is a valid timespec, which the kernel fills.
    let time = unsafe {
        let mut time: libc::timespec = mem::zeroed();
        libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time);
        time
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
