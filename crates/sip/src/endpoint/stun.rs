//! STUN on the SIP port (RFC 5626 §4.4.2, RFC 8489): a Binding request is a keep-alive, answered with its source address.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Whether a datagram is STUN and not SIP.
pub(crate) fn is_stun(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0 | 1)) && bytes.get(4..8) == Some(&COOKIE)
}

/// The response to a Binding request from `source`; `None` for any other message.
pub(crate) fn answer(request: &[u8], source: SocketAddr) -> Option<Bytes> {
    let (length, transaction) = (request.get(2..4)?, request.get(8..20)?);
    let length = usize::from(u16::from_be_bytes(length.try_into().ok()?));
    if request.get(..2) != Some(&[0, 1]) || length % 4 != 0 || request.len() != 20 + length {
        return None;
    }
    let mut ip: Vec<u8> = match source.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mask = COOKIE.iter().chain(transaction);
    ip.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    let port = source.port() ^ 0x2112;
    let mut answer = vec![1, 1, 0, 8 + ip.len() as u8];
    answer.extend_from_slice(&COOKIE);
    answer.extend_from_slice(transaction);
    answer.extend_from_slice(&[0, 0x20, 0, 4 + ip.len() as u8, 0, if ip.len() == 4 { 1 } else { 2 }]);
    answer.extend_from_slice(&port.to_be_bytes());
    answer.extend_from_slice(&ip);
    Some(answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_request_gets_its_source_address() {
        // The sample address of RFC 5769 §2.2: 192.0.2.1:32853.
        let request = *b"\x00\x01\x00\x00\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
        assert!(is_stun(&request));
        let answer = answer(&request, "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(&answer[..4], b"\x01\x01\x00\x0c");
        assert_eq!(&answer[20..], b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43");
    }

    #[test]
    fn garbage_gets_no_response() {
        assert!(!is_stun(b"OPTIONS sip:a SIP/2.0"));
        assert!(answer(&[0; 20], "192.0.2.1:1".parse().unwrap()).is_none());
        let long = *b"\x00\x01\x00\x08\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
        assert!(super::answer(&long, "192.0.2.1:1".parse().unwrap()).is_none());
    }
}
