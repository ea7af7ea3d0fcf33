//! What a start says to the person in front of it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use api::{Actor, App};
use model::{Permission, UserId};

use crate::config::Config;
use crate::data::DataDir;

use super::public_host;
use crate::tr;

/// Make the first administrator's key, where there is none (S20). Whether it was made now.
pub(super) async fn admin_key(app: &App, data: &DataDir) -> Result<bool> {
    let office = app.office();
    if office.directory().keys().any(|key| key.permissions.allow(Permission::Admin)) {
        return Ok(false);
    }
    let user = UserId::parse("admin").context("the first user")?;
    let created = office.create_admin_key(Actor::default(), user, "First administrator").await?;
    data.write_secret(&data.admin_key(), created.secret.expose())?;
    Ok(true)
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
        let say = |text: String| println!("{text}");
        say(tr!("Centralita {version} is up.", "Centralita {version} está en marcha."));
        say(tr!("  SIP   {sip}   domain {domain}", "  SIP   {sip}   dominio {domain}"));
        if let Some(http) = self.http {
            println!("  API   http://{http}");
        }
        if self.lan {
            let port = self.listening.first().map_or(5060, SocketAddr::port);
            let ports = &self.config.media.ports;
            let (host, start, end) = (public_host(self.config), ports.start(), ports.end());
            say(tr!(
                "  Tell phones: server {host}, port {port}, UDP or TCP, domain {domain}",
                "  A los teléfonos: servidor {host}, puerto {port}, UDP o TCP, dominio {domain}"
            ));
            say(tr!(
                "  Open in the firewall: {port} (UDP and TCP), {start}-{end} (UDP)",
                "  Abra en el cortafuegos: {port} (UDP y TCP), {start}-{end} (UDP)"
            ));
        }
        if let Some(http) = self.http.filter(|_| self.fresh) {
            let file = key.display();
            say(tr!(
                "  The administrator's key was made: {file}\nMake the first extension:",
                "  Se creó la clave del administrador: {file}\nCree la primera extensión:"
            ));
            println!(
                "  curl -sS http://{http}/api/v1/voip/extensions/create -H \"Authorization: Bearer $(cat {})\" \\",
                key.display()
            );
            println!(
                "    -H 'Content-Type: application/json' -d '{{\"extensionNumber\":\"1001\",\"displayName\":\"Juan Pérez\"}}'"
            );
        }
    }
}

/// Addresses on one line.
pub(super) fn joined(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
