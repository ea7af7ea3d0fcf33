//! What `serve` will need.

use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::Path;

use sip::Transport;
use store::Found;

use super::{Finding, files};
use crate::cli::{Fault, reach};
use crate::config::{Config, PublicAddress, without_password};
use crate::data::DataDir;
use crate::holder::{Protocol, why_not};
use crate::serve::{guess_address, public_ip};
use crate::{lang, tr};

/// Less free space than this is too little for a day of calls.
const DISK_BYTES: u64 = 512 * 1024 * 1024;

pub(super) fn look(config: &Config, data: &DataDir, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    ports(config, findings);
    addresses(config, findings);
    findings.push(folder(data));
    findings.push(database(config, data)?);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    findings.push(files(limit));
    Ok(())
}

fn ports(config: &Config, findings: &mut Vec<Finding>) {
    let sip = config.sip.listen.iter().map(|listen| {
        let protocol = if listen.transport == Transport::Udp { Protocol::Udp } else { Protocol::Tcp };
        (listen.to_string(), protocol, listen.address)
    });
    let http =
        config.http.listen.iter().map(|address| (format!("http://{address}"), Protocol::Tcp, *address));
    for (check, protocol, address) in sip.chain(http) {
        let bound = match protocol {
            Protocol::Udp => UdpSocket::bind(address).map(drop),
            Protocol::Tcp => TcpListener::bind(address).map(drop),
        };
        findings.push(match bound {
            Ok(()) => Finding::good(check, tr!("free", "libre")),
            Err(error) => Finding::bad(check, why_not(protocol, address, &error)),
        });
    }
}

fn addresses(config: &Config, findings: &mut Vec<Finding>) {
    let check = lang::current().pick("public address", "dirección pública");
    findings.push(match (&config.public_address, public_ip(config)) {
        (PublicAddress::Host(host), Ok(Some(ip))) => {
            Finding::good(check, tr!("{host} is {ip}", "{host} es {ip}"))
        }
        (PublicAddress::Auto, _) => {
            let only_here = config.sip.listen.iter().all(|listen| listen.address.ip().is_loopback());
            match (only_here, guess_address()) {
                (true, _) => Finding::warning(
                    check,
                    tr!(
                        "phones on this machine only; others need serve --lan",
                        "solo teléfonos de este equipo; para los demás, serve --lan"
                    ),
                ),
                (false, IpAddr::V4(ip)) if ip.is_loopback() => Finding::warning(
                    check,
                    tr!("this machine has no route out", "este equipo no tiene salida a la red"),
                ),
                (false, ip) => {
                    Finding::good(check, tr!("auto, {ip} towards others", "auto, {ip} hacia los demás"))
                }
            }
        }
        (PublicAddress::Host(host), Ok(None)) => {
            Finding::bad(check, tr!("{host} has no address", "{host} no tiene dirección"))
        }
        (PublicAddress::Host(_), Err(error)) => Finding::bad(check, format!("{error:#}")),
    });
}

/// Whether this user can write where the server would.
fn folder(data: &DataDir) -> Finding {
    let check = lang::current().pick("data directory", "carpeta de datos");
    let path = data.path();
    let shown = path.display();
    match path.metadata() {
        Ok(found) if !found.is_dir() => Finding::bad(
            check,
            tr!(
                "{shown} is no directory; name another one with --data",
                "{shown} no es una carpeta; nombre otra con --data"
            ),
        ),
        Ok(_) => match may_write(path) {
            Ok(()) => Finding::good(check, tr!("{shown} can be written", "se puede escribir en {shown}")),
            Err(error) => Finding::bad(
                check,
                tr!("{shown} cannot be written: {error}", "no se puede escribir en {shown}: {error}"),
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = existing(path);
            match may_write(parent) {
                Ok(()) => Finding::good(
                    check,
                    tr!("the first start makes {shown}", "el primer arranque crea {shown}"),
                ),
                Err(error) => Finding::bad(
                    check,
                    tr!("{shown} cannot be made: {error}", "no se puede crear {shown}: {error}"),
                ),
            }
        }
        Err(error) => {
            Finding::bad(check, tr!("{shown} cannot be read: {error}", "{shown} no se puede leer: {error}"))
        }
    }
}

/// Make a file without a name there: nothing is left of it, whatever happens.
fn may_write(folder: &Path) -> io::Result<()> {
    use rustix::fs::{Access, Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => rustix::io::write(&file, b"x").map(drop).map_err(io::Error::from),
        // Not every file system knows it (NFS, FUSE).
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
        }
        Err(error) => Err(error.into()),
    }
}

fn existing(path: &Path) -> &Path {
    let parents =
        path.ancestors().skip(1).map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    parents.into_iter().find(|path| path.exists()).unwrap_or(Path::new("."))
}

fn database(config: &Config, data: &DataDir) -> Result<Finding, Fault> {
    let check = lang::current().pick("database", "base de datos");
    let url = config.store.url.expose();
    let found = reach::block_on(async { Ok(store::probe(url, data.path()).await) })?;
    let shown = without_password(url);
    Ok(match found {
        Ok(Found::Missing) => {
            Finding::good(check, tr!("the first start makes {shown}", "el primer arranque crea {shown}"))
        }
        Ok(Found::Empty) => Finding::good(
            check,
            tr!(
                "{shown} is empty; the first start fills it",
                "{shown} está vacía; el primer arranque la llena"
            ),
        ),
        Ok(Found::Ours { version, newest }) if version < newest => Finding::good(
            check,
            tr!(
                "{shown} opens; the next start brings it from version {version} to {newest}",
                "{shown} se abre; el próximo arranque la lleva de la versión {version} a la {newest}"
            ),
        ),
        Ok(Found::Ours { version, .. }) => Finding::good(
            check,
            tr!("{shown} opens, version {version}", "{shown} se abre, versión {version}"),
        ),
        Err(error) => {
            Finding::bad(check, tr!("{shown} does not open: {error}", "{shown} no se abre: {error}"))
        }
    })
}

pub(super) fn disk(data: &DataDir) -> Finding {
    let check = lang::current().pick("disk", "disco");
    let path = if data.path().exists() { data.path() } else { existing(data.path()) };
    match rustix::fs::statvfs(path) {
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let megabytes = free / 1024 / 1024;
            let said = tr!("{megabytes} MB free", "{megabytes} MB libres");
            if free < DISK_BYTES { Finding::bad(check, said) } else { Finding::good(check, said) }
        }
        Err(error) => Finding::warning(check, error.to_string()),
    }
}
