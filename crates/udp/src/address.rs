//! Socket addresses in the kernel's layout: `sockaddr_in` and `sockaddr_in6`, encoded and decoded byte by byte.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use libc::{sockaddr_in, sockaddr_in6};

/// Size of the larger one, in bytes.
pub const BYTES: usize = size_of::<sockaddr_in6>();

const PORT: usize = offset_of!(sockaddr_in, sin_port);
const V4: usize = offset_of!(sockaddr_in, sin_addr);
const FLOW: usize = offset_of!(sockaddr_in6, sin6_flowinfo);
const V6: usize = offset_of!(sockaddr_in6, sin6_addr);
const SCOPE: usize = offset_of!(sockaddr_in6, sin6_scope_id);
const _: () =
    assert!(offset_of!(sockaddr_in6, sin6_port) == PORT && offset_of!(sockaddr_in, sin_family) == 0);

/// Buffer for an address that the kernel writes (`msg_name`).
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct SockaddrBuf(pub [u8; BYTES]);

/// Decode an address that the kernel wrote. `None`: another family, or truncated.
pub fn read(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(read_array(bytes, PORT)?);
    match i32::from(u16::from_ne_bytes(read_array(bytes, 0)?)) {
        libc::AF_INET if bytes.len() >= size_of::<sockaddr_in>() => {
            Some(SocketAddr::new(Ipv4Addr::from(read_array::<4>(bytes, V4)?).into(), port))
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(read_array::<16>(bytes, V6)?);
            let (flow, scope) =
                (u32::from_ne_bytes(read_array(bytes, FLOW)?), u32::from_ne_bytes(read_array(bytes, SCOPE)?));
            Some(SocketAddrV6::new(ip, port, flow, scope).into())
        }
        _ => None,
    }
}

/// Encode an address; returns its length in bytes.
pub fn write(address: SocketAddr, room: &mut [u8; BYTES]) -> u32 {
    room.fill(0);
    room[PORT..PORT + 2].copy_from_slice(&address.port().to_be_bytes());
    let (family, len) = match address {
        SocketAddr::V4(v4) => {
            room[V4..V4 + 4].copy_from_slice(&v4.ip().octets());
            (libc::AF_INET, size_of::<sockaddr_in>())
        }
        SocketAddr::V6(v6) => {
            room[FLOW..FLOW + 4].copy_from_slice(&v6.flowinfo().to_ne_bytes());
            room[V6..V6 + 16].copy_from_slice(&v6.ip().octets());
            room[SCOPE..SCOPE + 4].copy_from_slice(&v6.scope_id().to_ne_bytes());
            (libc::AF_INET6, size_of::<sockaddr_in6>())
        }
    };
    room[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    len as u32
}

/// An IPv4-mapped address, as an IPv6 socket reports it, as IPv4.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

fn read_array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_decodes_as_encoded_and_not_if_truncated() {
        for text in ["192.0.2.7:5060", "[2001:db8::7]:5061", "[::ffff:192.0.2.7]:5060"] {
            let (address, mut room) = (text.parse().unwrap(), [0xff; BYTES]);
            let len = write(address, &mut room) as usize;
            assert_eq!(read(&room[..len]), Some(address));
            assert_eq!(read(&room[..len - 1]), None);
        }
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 5060, 7, 3).into();
        let mut room = [0; BYTES];
        write(scoped, &mut room);
        assert_eq!((read(&room), read(&[1; BYTES]), read(&[])), (Some(scoped), None, None));
        assert_eq!(canonical("[::ffff:192.0.2.7]:1".parse().unwrap()), "192.0.2.7:1".parse().unwrap());
        assert_eq!(canonical(scoped), scoped);
    }
}
