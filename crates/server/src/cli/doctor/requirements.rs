//! Checks of what `serve` will need.

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

/// Less free space than this is an error: too little for a day of calls.
const DISK_BYTES: u64 = 512 * 1024 * 1024;

pub(super) fn check(config: &Config, data: &DataDir, findings: &mut Vec<Finding>) -> Result<(), Fault> {
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
    for (name, protocol, address) in sip.chain(http) {
        let bound = match protocol {
            Protocol::Udp => UdpSocket::bind(address).map(drop),
            Protocol::Tcp => TcpListener::bind(address).map(drop),
        };
        findings.push(match bound {
            Ok(()) => Finding::good(name, tr!("free", "libre")),
            Err(error) => Finding::bad(name, why_not(protocol, address, &error)),
        });
    }
}

fn addresses(config: &Config, findings: &mut Vec<Finding>) {
    let name = lang::current().pick("public address", "dirección pública");
    findings.push(match (&config.public_address, public_ip(config)) {
        (PublicAddress::Host(host), Ok(Some(ip))) => {
            Finding::good(name, tr!("{host} is {ip}", "{host} es {ip}"))
        }
        (PublicAddress::Auto, _) => {
            let only_here = config.sip.listen.iter().all(|listen| listen.address.ip().is_loopback());
            match (only_here, guess_address()) {
                (true, _) => Finding::warning(
                    name,
                    tr!(
                        "phones on this machine only; for others use serve --lan",
                        "solo accesible desde este equipo; para otros teléfonos use serve --lan"
                    ),
                ),
                (false, IpAddr::V4(ip)) if ip.is_loopback() => Finding::warning(
                    name,
                    tr!("this machine has no default route", "este equipo no tiene ruta por defecto"),
                ),
                (false, ip) => Finding::good(name, tr!("auto, {ip}", "auto, {ip}")),
            }
        }
        (PublicAddress::Host(host), Ok(None)) => {
            Finding::bad(name, tr!("{host} has no address", "{host} no tiene dirección"))
        }
        (PublicAddress::Host(_), Err(error)) => Finding::bad(name, format!("{error:#}")),
    });
}

/// Check whether this user can write to the data directory.
fn folder(data: &DataDir) -> Finding {
    let name = lang::current().pick("data directory", "directorio de datos");
    let path = data.path();
    let shown = path.display();
    match path.metadata() {
        Ok(found) if !found.is_dir() => Finding::bad(
            name,
            tr!(
                "{shown} is not a directory; name another one with --data",
                "{shown} no es un directorio; indique otro con --data"
            ),
        ),
        Ok(_) => match may_write(path) {
            Ok(()) => Finding::good(name, tr!("{shown} can be written", "se puede escribir en {shown}")),
            Err(error) => Finding::bad(
                name,
                tr!("{shown} cannot be written: {error}", "no se puede escribir en {shown}: {error}"),
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = existing(path);
            match may_write(parent) {
                Ok(()) => Finding::good(
                    name,
                    tr!("the first start creates {shown}", "el primer arranque crea {shown}"),
                ),
                Err(error) => Finding::bad(
                    name,
                    tr!("{shown} cannot be created: {error}", "no se puede crear {shown}: {error}"),
                ),
            }
        }
        Err(error) => {
            Finding::bad(name, tr!("{shown} cannot be read: {error}", "{shown} no se puede leer: {error}"))
        }
    }
}

/// Create an unnamed temporary file in `folder`, of which nothing remains.
fn may_write(folder: &Path) -> io::Result<()> {
    use rustix::fs::{Access, Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => rustix::io::write(&file, b"x").map(drop).map_err(io::Error::from),
        // Some file systems do not support it (NFS, FUSE).
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
    let name = lang::current().pick("database", "base de datos");
    let url = config.store.url.expose();
    let found = reach::block_on(async { Ok(store::probe(url, data.path()).await) })?;
    let shown = without_password(url);
    Ok(match found {
        Ok(Found::Missing) => {
            Finding::good(name, tr!("the first start creates {shown}", "el primer arranque crea {shown}"))
        }
        Ok(Found::Empty) => Finding::good(
            name,
            tr!(
                "{shown} is empty; the first start creates its tables",
                "{shown} está vacía; el primer arranque crea sus tablas"
            ),
        ),
        Ok(Found::Ours { version, newest }) if version < newest => Finding::good(
            name,
            tr!(
                "{shown} can be opened; the next start migrates it from version {version} to {newest}",
                "{shown} se abre correctamente; el próximo arranque la migra de la versión {version} a la {newest}"
            ),
        ),
        Ok(Found::Ours { version, .. }) => Finding::good(
            name,
            tr!(
                "{shown} can be opened, version {version}",
                "{shown} se abre correctamente, versión {version}"
            ),
        ),
        Err(error) => {
            Finding::bad(name, tr!("{shown} cannot be opened: {error}", "no se puede abrir {shown}: {error}"))
        }
    })
}

pub(super) fn disk(data: &DataDir) -> Finding {
    let name = lang::current().pick("disk", "disco");
    let path = if data.path().exists() { data.path() } else { existing(data.path()) };
    match rustix::fs::statvfs(path) {
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let megabytes = free / 1024 / 1024;
            let said = tr!("{megabytes} MB free", "{megabytes} MB libres");
            if free < DISK_BYTES { Finding::bad(name, said) } else { Finding::good(name, said) }
        }
        Err(error) => Finding::warning(name, error.to_string()),
    }
}
