//! What a start says to the person in front of it.

use std::net::SocketAddr;

use std::io::{self, Write};

use model::{Directory, SealKey};

use crate::config::Config;
use crate::data::DataDir;

use super::public_host;
use crate::tr;

/// Carriers whose passwords `key` does not open: it is not the one that sealed them.
pub(super) fn unreadable_trunks(directory: &Directory, key: &SealKey) -> Vec<String> {
    let unreadable = directory.trunks().filter(|trunk| {
        trunk.password.as_ref().is_some_and(|sealed| sealed.open(key, trunk.id.as_str()).is_none())
    });
    unreadable.map(|trunk| trunk.name.clone()).collect()
}

/// A line for the person in front of it. A closed pipe, or a full disk behind it, is no reason not to start.
fn say(line: &str) {
    drop(writeln!(io::stdout(), "{line}"));
}

/// See [`Beginning::print`].
pub(super) struct Beginning<'a> {
    pub(super) lan: bool,
    pub(super) fresh: bool,
    pub(super) http: Option<SocketAddr>,
    pub(super) config: &'a Config,
    pub(super) listening: &'a [SocketAddr],
    pub(super) data: &'a DataDir,
}

impl Beginning<'_> {
    /// Ten lines at most: where we are, where the key lies, what to type next.
    pub(super) fn print(&self) {
        let key = self.data.admin_key();
        let schemes = self.config.sip.listen.iter().map(|listen| listen.transport.as_param());
        let sip: Vec<String> =
            schemes.zip(self.listening).map(|(scheme, address)| format!("{scheme}://{address}")).collect();
        let (version, sip, domain) = (env!("CARGO_PKG_VERSION"), sip.join(", "), &self.config.sip.domain);
        say(&tr!("Centralita {version} is up.", "Centralita {version} está en marcha."));
        say(&tr!("  SIP   {sip}   domain {domain}", "  SIP   {sip}   dominio {domain}"));
        if let Some(http) = self.http {
            say(&format!("  API   http://{http}"));
        }
        if self.lan {
            let port = self.listening.first().map_or(5060, SocketAddr::port);
            let ports = &self.config.media.ports;
            let (host, start, end) = (public_host(self.config), ports.start(), ports.end());
            say(&tr!(
                "  Tell phones: server {host}, port {port}, UDP or TCP, domain {domain}",
                "  A los teléfonos: servidor {host}, puerto {port}, UDP o TCP, dominio {domain}"
            ));
            say(&tr!(
                "  Open in the firewall: {port} (UDP and TCP), {start}-{end} (UDP)",
                "  Abra en el cortafuegos: {port} (UDP y TCP), {start}-{end} (UDP)"
            ));
        }
        if let Some(http) = self.http.filter(|_| self.fresh) {
            let file = key.display();
            say(&tr!(
                "  The administrator's key was made: {file}\nMake the first extension:",
                "  Se creó la clave del administrador: {file}\nCree la primera extensión:"
            ));
            say(&format!(
                "  curl -sS http://{http}/api/v1/voip/extensions/create -H \"Authorization: Bearer $(cat {})\" \\",
                key.display()
            ));
            say(
                r#"    -H 'Content-Type: application/json' -d '{"extensionNumber":"1001","displayName":"Juan Pérez"}'"#,
            );
        }
    }
}

/// Addresses on one line.
pub(super) fn joined(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
