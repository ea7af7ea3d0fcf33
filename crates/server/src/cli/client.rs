//! Minimal HTTP client for the API on this machine: one request per connection, no TLS.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use base::Secret;
use serde_json::Value;

use super::Fault;
use crate::{lang, tr};

/// Bytes that are read of a response at most.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024 * 1024;

/// Client of one server, with one API key.
#[derive(Clone, Debug)]
pub struct Client {
    authority: String,
    key: Option<Secret<String>>,
}

/// A response.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON; an error status becomes a [`Fault`] with the server's text.
    pub fn json(self) -> Result<Value, Fault> {
        let body: Option<Value> = serde_json::from_str(&self.text).ok();
        if !(200..300).contains(&self.status) {
            let word = |name: &str| body.as_ref().and_then(|body| body[name].as_str()).map(str::to_owned);
            let status = self.status;
            let why = word("error")
                .unwrap_or_else(|| tr!("the server answered {status}", "el servidor respondió {status}"));
            return Err(match (word("code"), body) {
                (Some(code), Some(body)) => Fault::Api { why, code, body },
                (_, _) => Fault::Refused(why),
            });
        }
        body.ok_or_else(|| {
            Fault::Refused(tr!("the server's response is not JSON", "la respuesta del servidor no es JSON"))
        })
    }
}

impl Client {
    /// A client of `http://HOST:PORT`.
    pub fn new(url: &str, key: Option<String>) -> Result<Client, Fault> {
        let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        if authority.is_empty() || authority.contains('/') {
            return Err(Fault::Usage(tr!(
                "{url:?} is not the URL of a server; write http://HOST:PORT",
                "{url:?} no es la URL de un servidor; escriba http://HOST:PUERTO"
            )));
        }
        Ok(Client { authority: authority.into(), key: key.map(Secret::new) })
    }

    /// Send a `GET` request.
    pub fn get(&self, path: &str) -> Result<Answer, Fault> {
        self.send("GET", path, None)
    }

    /// Send a `POST` request, with or without a JSON body.
    pub fn post(&self, path: &str, body: Option<&Value>) -> Result<Answer, Fault> {
        self.send("POST", path, body)
    }

    /// Send a `POST` request with a body of type `kind`.
    pub fn post_bytes(&self, path: &str, kind: &str, body: &[u8]) -> Result<Answer, Fault> {
        self.send_bytes("POST", path, Some((kind, body)))
    }

    /// Send a `PUT` request.
    pub fn put(&self, path: &str, body: &Value) -> Result<Answer, Fault> {
        self.send("PUT", path, Some(body))
    }

    /// Send a `DELETE` request.
    pub fn delete(&self, path: &str) -> Result<Answer, Fault> {
        self.send("DELETE", path, None)
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Fault> {
        let text = body.map(Value::to_string);
        self.send_bytes(method, path, text.as_ref().map(|text| ("application/json", text.as_bytes())))
    }

    fn send_bytes(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> Result<Answer, Fault> {
        let unreachable = |error: &dyn std::fmt::Display| {
            let authority = &self.authority;
            Fault::Unreachable(tr!(
                "no server answers at http://{authority}: {error}",
                "ningún servidor responde en http://{authority}: {error}"
            ))
        };
        let address = self.authority.to_socket_addrs().ok().and_then(|mut found| found.next());
        let address =
            address.ok_or_else(|| unreachable(&tr!("the host does not exist", "el host no existe")))?;
        let mut stream =
            TcpStream::connect_timeout(&address, Duration::from_secs(5)).map_err(|e| unreachable(&e))?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|e| unreachable(&e))?;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\nAccept-Language: {}\r\nConnection: close\r\n",
            self.authority,
            lang::current().pick("en", "es")
        );
        if let Some(key) = &self.key {
            write!(request, "Authorization: Bearer {}\r\n", key.expose()).ok();
        }
        if let Some((kind, body)) = body {
            write!(request, "Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()).ok();
        } else if method != "GET" {
            request.push_str("Content-Length: 0\r\n");
        }
        request.push_str("\r\n");
        let body = body.map(|(_, body)| body).unwrap_or_default();
        stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.write_all(body))
            .map_err(|e| unreachable(&e))?;
        let mut bytes = Vec::new();
        stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut bytes).map_err(|e| unreachable(&e))?;
        parse(&bytes).ok_or_else(|| unreachable(&tr!("its response is not HTTP", "su respuesta no es HTTP")))
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let body = &bytes[end + 4..];
    let status = head.lines().next()?.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.lines().any(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with("transfer-encoding:") && line.contains("chunked")
    });
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Some(Answer { status, text: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 2 + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_read_whole_and_chunked() {
        let plain = parse(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        assert_eq!((plain.status, plain.text.as_str()), (200, "{}"));
        let chunks = parse(
            b"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        );
        assert_eq!(chunks.unwrap().text, "abcde");
        let refused = Answer { status: 409, text: r#"{"error":"taken","code":"duplicate"}"#.into() };
        assert_eq!(refused.json().unwrap_err().to_string(), "taken (duplicate)");
    }
}
