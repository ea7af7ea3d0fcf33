//! A small blocking HTTP client: enough for a JSON API on loopback.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A client for one server, with or without a bearer key.
#[derive(Debug, Clone)]
pub struct Http {
    server: SocketAddr,
    key: Option<String>,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
    /// The body as bytes, for content that is not text.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The body as JSON of a response that must have this status.
    ///
    /// # Panics
    /// If the status is another one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.body);
        self.json()
    }

    /// A header's value; names are case-insensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Http {
    pub fn new(server: SocketAddr, key: Option<&str>) -> Self {
        Self { server, key: key.map(str::to_owned) }
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.must("GET", path, None)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.must("POST", path, Some(body))
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.must("PUT", path, Some(body))
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.must("DELETE", path, None)
    }

    #[track_caller]
    fn must(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.send(method, path, "application/json", body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// A request whose body is not JSON.
    ///
    /// # Panics
    /// If the server does not respond.
    #[track_caller]
    pub fn upload(&self, path: &str, kind: &str, bytes: &[u8]) -> Answer {
        self.upload_by("PUT", path, kind, bytes)
    }

    /// The same with another method.
    ///
    /// # Panics
    /// If the server does not respond.
    #[track_caller]
    pub fn upload_by(&self, method: &str, path: &str, kind: &str, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.server).expect("a connection");
        let key = self.key.as_deref().unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {key}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            self.server,
            bytes.len()
        );
        stream.write_all(&[head.as_bytes(), bytes].concat()).expect("the request is read");
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).expect("an answer");
        parse(&raw).expect("an HTTP answer")
    }

    /// One request on its own connection.
    ///
    /// # Errors
    /// If the server cannot be reached or closes the connection early.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        body: Option<&Value>,
    ) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(self.server)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: {accept}\r\n",
            self.server
        );
        if let Some(key) = &self.key {
            request += &format!("Authorization: Bearer {key}\r\n");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        stream.write_all(format!("{request}\r\n{body}").as_bytes())?;
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw)?;
        parse(&raw).ok_or_else(|| std::io::Error::other("not an HTTP answer"))
    }
}

fn parse(raw: &[u8]) -> Option<Answer> {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let rest = &raw[end + 4..];
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(rest)? } else { rest.to_vec() };
    Some(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned(), bytes: body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 4 + size..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_and_a_chunked_body_are_read() {
        let plain = parse(b"HTTP/1.1 404 Not Found\r\nX-A: b\r\n\r\n{\"a\":1}").unwrap();
        assert_eq!((plain.status, plain.header("x-a"), plain.body.as_str()), (404, Some("b"), "{\"a\":1}"));
        let chunked =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
                .unwrap();
        assert_eq!(chunked.body, "abcde");
    }
}
