//! Explains why a port cannot be opened and finds the process that holds it, from `/proc/net` and the file descriptors of the visible processes.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::tr;

/// Transport protocol of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// A process that has a port open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Process id; `None` if the process belongs to another user.
    pub pid: Option<u32>,
    /// Name of the program.
    pub name: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.name;
        match self.pid {
            Some(pid) => f.write_str(&tr!("{name} (process {pid})", "{name} (proceso {pid})")),
            None => f.write_str(&tr!("a program of another user", "un programa de otro usuario")),
        }
    }
}

/// The processes that hold a port; several if they share it.
pub fn holders(protocol: Protocol, address: SocketAddr) -> Vec<Holder> {
    let mut sockets = Vec::new();
    let files = match protocol {
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    for file in files {
        let Ok(table) = fs::read_to_string(file) else { continue };
        sockets.extend(table.lines().skip(1).filter_map(|line| listening(line, protocol, address)));
    }
    if sockets.is_empty() {
        return Vec::new();
    }
    let mut found = processes(&sockets);
    if found.is_empty() {
        found.push(Holder { pid: None, name: String::new() });
    }
    found
}

/// The inode of the socket in a line of `/proc/net`, if that socket conflicts with `wanted`.
fn listening(line: &str, protocol: Protocol, wanted: SocketAddr) -> Option<u64> {
    let mut words = line.split_whitespace();
    let local = socket(words.nth(1)?)?;
    let state = words.nth(1)?;
    let inode: u64 = words.nth(5)?.parse().ok()?;
    // TCP_LISTEN: an established connection does not prevent another socket from listening.
    let open = protocol == Protocol::Udp || state == "0A";
    let wild = local.ip().is_unspecified() || wanted.ip().is_unspecified();
    (open && inode != 0 && local.port() == wanted.port() && (wild || local.ip() == wanted.ip()))
        .then_some(inode)
}

/// Parses `0100007F:13C4`: each four bytes are one number in the machine's byte order.
fn socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |n: usize| u32::from_str_radix(address.get(n * 8..n * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = if address.len() == 8 {
        IpAddr::from(Ipv4Addr::from(word(0)?))
    } else {
        let mut bytes = [0; 16];
        for (n, part) in bytes.chunks_exact_mut(4).enumerate() {
            part.copy_from_slice(&word(n)?);
        }
        IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
    };
    Some(SocketAddr::new(ip, port))
}

fn processes(sockets: &[u64]) -> Vec<Holder> {
    let names: Vec<String> = sockets.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let mut found = Vec::new();
    let Ok(all) = fs::read_dir("/proc") else { return found };
    for process in all.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = |file: fs::DirEntry| {
            fs::read_link(file.path()).is_ok_and(|target| {
                target.to_str().is_some_and(|target| names.iter().any(|name| name == target))
            })
        };
        if files.flatten().any(holds) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let clean = name.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
            found.push(Holder { pid: Some(pid), name: clean.collect() });
        }
    }
    found.sort_by_key(|holder| holder.pid);
    found
}

/// Why a listener cannot be opened, and what the operator can do.
pub fn why_not(protocol: Protocol, address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holders = holders(protocol, address);
            if holders.is_empty() {
                return tr!(
                    "the port is in use; set another port",
                    "el puerto está en uso; indique otro puerto"
                );
            }
            let who: Vec<String> = holders.iter().map(ToString::to_string).collect();
            let who = who.join(", ");
            tr!(
                "the port is used by {who}; stop that program, or set another port",
                "el puerto lo está usando {who}; detenga ese programa o indique otro puerto"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            let ip = address.ip();
            tr!(
                "this machine does not have the address {ip}; set one that it has, or 0.0.0.0 for all",
                "este equipo no tiene la dirección {ip}; indique una de las suyas, o 0.0.0.0 para usarlas todas"
            )
        }
        io::ErrorKind::PermissionDenied => tr!(
            "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= in the systemd unit)",
            "permiso denegado; los puertos inferiores a 1024 requieren CAP_NET_BIND_SERVICE (AmbientCapabilities= en la unidad de systemd)"
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_that_holds_a_port_is_named() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("[::1]:0").unwrap();
        for (protocol, address) in
            [(Protocol::Tcp, tcp.local_addr().unwrap()), (Protocol::Udp, udp.local_addr().unwrap())]
        {
            let found = holders(protocol, address);
            assert_eq!(
                found.iter().filter_map(|holder| holder.pid).collect::<Vec<_>>(),
                [std::process::id()]
            );
            let wild = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), address.port());
            assert_eq!(holders(protocol, wild), found, "a wildcard is in its way too");
            let in_use = io::Error::from(io::ErrorKind::AddrInUse);
            let said = why_not(protocol, address, &in_use);
            assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
        }
        let free = tcp.local_addr().unwrap();
        drop(tcp);
        assert_eq!(holders(Protocol::Tcp, free), []);
    }

    #[test]
    fn addresses_of_the_kernels_table_are_read() {
        assert_eq!(socket("0100007F:13C4"), Some("127.0.0.1:5060".parse().unwrap()));
        assert_eq!(
            socket("00000000000000000000000001000000:1388"),
            Some("[::1]:5000".parse().unwrap()),
            "little-endian words"
        );
        assert_eq!(socket("nonsense"), None);
    }
}
