//! Control messages (cmsg(3)) with the local address of a datagram, byte by byte: `IP_PKTINFO` and `IPV6_PKTINFO`.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{c_int, cmsghdr, in_pktinfo, in6_pktinfo};

/// Size of the control buffer of one datagram, in bytes.
pub(crate) const BYTES: usize = 128;

/// Alignment of a message, and of its data.
const ALIGN: usize = size_of::<usize>();
const LEVEL: usize = offset_of!(cmsghdr, cmsg_level);
const KIND: usize = offset_of!(cmsghdr, cmsg_type);
const HEAD: usize = size_of::<cmsghdr>().next_multiple_of(ALIGN);
// The length is the first field, as wide as a pointer: musl declares it as half of that plus padding.
const _: () = assert!(offset_of!(cmsghdr, cmsg_len) == 0 && LEVEL == size_of::<usize>());

/// Buffer for the control messages of one datagram.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct Control(pub(crate) [u8; BYTES]);

/// The local address in the control messages of a received datagram.
pub(crate) fn destination(mut messages: &[u8]) -> Option<IpAddr> {
    loop {
        let len = usize::from_ne_bytes(read_array(messages, 0)?);
        let data = messages.get(HEAD..len)?;
        match (
            c_int::from_ne_bytes(read_array(messages, LEVEL)?),
            c_int::from_ne_bytes(read_array(messages, KIND)?),
        ) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                return Some(Ipv4Addr::from(read_array::<4>(data, offset_of!(in_pktinfo, ipi_addr))?).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                return Some(
                    Ipv6Addr::from(read_array::<16>(data, offset_of!(in6_pktinfo, ipi6_addr))?).into(),
                );
            }
            _ => {}
        }
        messages = messages.get(len.next_multiple_of(ALIGN)..)?;
    }
}

/// Write the control message that sets the source address; returns its length.
pub(crate) fn origin(from: IpAddr, room: &mut Control) -> usize {
    let (level, kind, size) = match from {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO, size_of::<in_pktinfo>()),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, size_of::<in6_pktinfo>()),
    };
    room.0.fill(0);
    let (head, data) = room.0.split_at_mut(HEAD);
    head[..ALIGN].copy_from_slice(&(HEAD + size).to_ne_bytes());
    head[LEVEL..LEVEL + size_of::<c_int>()].copy_from_slice(&level.to_ne_bytes());
    head[KIND..KIND + size_of::<c_int>()].copy_from_slice(&kind.to_ne_bytes());
    match from {
        IpAddr::V4(v4) => data[offset_of!(in_pktinfo, ipi_spec_dst)..][..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => data[offset_of!(in6_pktinfo, ipi6_addr)..][..16].copy_from_slice(&v6.octets()),
    }
    HEAD + size.next_multiple_of(ALIGN)
}

fn read_array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The control messages of a datagram sent to `to`, as the kernel writes them, with another message first.
    pub(crate) fn pktinfo_of(to: IpAddr) -> Vec<u8> {
        let mut control = Control([0; BYTES]);
        let len = origin(to, &mut control);
        if let IpAddr::V4(v4) = to {
            let at = HEAD + offset_of!(in_pktinfo, ipi_addr);
            control.0[HEAD..HEAD + 12].fill(0);
            control.0[at..at + 4].copy_from_slice(&v4.octets());
        }
        let mut other = vec![0_u8; HEAD + ALIGN];
        other[..ALIGN].copy_from_slice(&(HEAD + 1).to_ne_bytes()); // a message of one byte: a type of service
        other[LEVEL..LEVEL + 4].copy_from_slice(&libc::IPPROTO_IP.to_ne_bytes());
        other[KIND..KIND + 4].copy_from_slice(&libc::IP_TOS.to_ne_bytes());
        other.extend(&control.0[..len]);
        other
    }

    #[test]
    fn the_local_address_is_found_after_other_messages_and_not_in_truncated_ones() {
        for to in ["192.0.2.9", "2001:db8::9"] {
            let to: IpAddr = to.parse().unwrap();
            let messages = pktinfo_of(to);
            assert_eq!(destination(&messages), Some(to));
            for cut in 0..messages.len() {
                let found = destination(&messages[..cut]);
                assert!(found.is_none() || found == Some(to), "cut to {cut}: {found:?}");
            }
        }
        // Lengths that the kernel never writes.
        for len in [0, 1, HEAD - 1, usize::MAX, usize::MAX - 7] {
            let mut messages = [0_u8; 64];
            messages[..ALIGN].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(destination(&messages), None);
        }
    }
}
