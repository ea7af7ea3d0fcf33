//! Messages of a start on the terminal.

use std::net::SocketAddr;

use std::io::{self, Write};

use model::{Directory, SealKey};

use crate::config::Config;
use crate::data::DataDir;

use super::public_host;
use crate::tr;

/// Names of the trunks whose passwords `key` does not decrypt: they were sealed with another key.
pub(super) fn unreadable_trunks(directory: &Directory, key: &SealKey) -> Vec<String> {
    let unreadable = directory.trunks().filter(|trunk| {
        trunk.password.as_ref().is_some_and(|sealed| sealed.open(key, trunk.id.as_str()).is_none())
    });
    unreadable.map(|trunk| trunk.name.clone()).collect()
}

/// Print a line. A closed pipe or a full disk behind stdout does not prevent the start.
fn print_line(line: &str) {
    drop(writeln!(io::stdout(), "{line}"));
}

/// The data of the start-up message.
pub(super) struct StartupMessage<'a> {
    pub(super) lan: bool,
    pub(super) key_created: bool,
    pub(super) http: Option<SocketAddr>,
    pub(super) config: &'a Config,
    pub(super) listening: &'a [SocketAddr],
    pub(super) data: &'a DataDir,
}

impl StartupMessage<'_> {
    /// Print at most ten lines: the addresses, the path of the key, and the next command to type.
    pub(super) fn print(&self) {
        let key = self.data.admin_key();
        let schemes = self.config.sip.listen.iter().map(|listen| listen.transport.as_param());
        let sip: Vec<String> =
            schemes.zip(self.listening).map(|(scheme, address)| format!("{scheme}://{address}")).collect();
        let (version, sip, domain) = (env!("CARGO_PKG_VERSION"), sip.join(", "), &self.config.sip.domain);
        print_line(&tr!("Centralita {version} is up.", "Centralita {version} está en marcha."));
        print_line(&tr!("  SIP   {sip}   domain {domain}", "  SIP   {sip}   dominio {domain}"));
        if let Some(http) = self.http {
            print_line(&format!("  API   http://{http}"));
        }
        if self.lan {
            let port = self.listening.first().map_or(5060, SocketAddr::port);
            let ports = &self.config.media.ports;
            let (host, start, end) = (public_host(self.config), ports.start(), ports.end());
            print_line(&tr!(
                "  Phones: server {host}, port {port}, UDP or TCP, domain {domain}",
                "  Teléfonos: servidor {host}, puerto {port}, UDP o TCP, dominio {domain}"
            ));
            print_line(&tr!(
                "  Open in the firewall: {port} (UDP and TCP), {start}-{end} (UDP)",
                "  Abra en el cortafuegos: {port} (UDP y TCP), {start}-{end} (UDP)"
            ));
        }
        if let Some(http) = self.http.filter(|_| self.key_created) {
            let file = key.display();
            print_line(&tr!(
                "  The administrator's key was created: {file}\nCreate the first extension:",
                "  Se creó la clave del administrador: {file}\nCree la primera extensión:"
            ));
            print_line(&format!(
                "  curl -sS http://{http}/api/v1/voip/extensions/create -H \"Authorization: Bearer $(cat {})\" \\",
                key.display()
            ));
            print_line(
                r#"    -H 'Content-Type: application/json' -d '{"extensionNumber":"1001","displayName":"Juan Pérez"}'"#,
            );
        }
    }
}

/// Addresses separated by commas.
pub(super) fn joined(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
