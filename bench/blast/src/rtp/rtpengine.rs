//! The subset of rtpengine's control protocol that sets up and ends a plain call.

use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

use crate::engine::media_of;

const FLAGS: &str = "3:ICE6:remove5:flagsl13:trust-addresse7:replacel6:origine";

/// The control socket.
pub struct Control {
    socket: UdpSocket,
    run: u32,
}

impl Control {
    /// Use the control socket at `address`.
    pub fn open(address: String) -> Result<Control, String> {
        let connect = || {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(&address)?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            Ok(socket)
        };
        let socket = connect().map_err(|error: std::io::Error| format!("{address}: {error}"))?;
        Ok(Control { socket, run: std::process::id() })
    }

    /// Offer with `a`, answer with `b`. Returns the destinations of both.
    pub fn connect(
        &self,
        call: usize,
        a: SocketAddrV4,
        b: SocketAddrV4,
    ) -> Result<(SocketAddrV4, SocketAddrV4), String> {
        let id = text(&self.id(call));
        let plain = "18:transport-protocol7:RTP/AVP";
        let offer = format!(
            "d7:command5:offer7:call-id{id}8:from-tag2:fa{FLAGS}3:sdp{}{plain}e",
            text(&description(a))
        );
        let for_b = media(&self.ask("o", call, &offer)?)?;
        let answer = format!(
            "d7:command6:answer7:call-id{id}8:from-tag2:fa6:to-tag2:tb{FLAGS}3:sdp{}e",
            text(&description(b))
        );
        let for_a = media(&self.ask("a", call, &answer)?)?;
        Ok((for_a, for_b))
    }

    /// Delete the call.
    pub fn delete(&self, call: usize) {
        let id = text(&self.id(call));
        let words = format!("d7:command6:delete12:delete-delayi0e7:call-id{id}8:from-tag2:fae");
        // A call that is not deleted ends with the process.
        let _ = self.ask("d", call, &words);
    }

    fn id(&self, call: usize) -> String {
        format!("blast-{}-{call}", self.run)
    }

    fn ask(&self, verb: &str, call: usize, words: &str) -> Result<String, String> {
        let request = format!("{}{verb}{call} {words}", self.run);
        let mut buffer = [0; 8192];
        for _ in 0..25 {
            // The error belongs to the datagram before it: rtpengine does not listen yet.
            let sent = self.socket.send(request.as_bytes());
            match sent.and_then(|_| self.socket.recv(&mut buffer)) {
                Ok(got) => return Ok(String::from_utf8_lossy(&buffer[..got]).into_owned()),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
        Err("rtpengine does not answer".to_owned())
    }
}

fn text(value: &str) -> String {
    format!("{}:{value}", value.len())
}

fn description(at: SocketAddrV4) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n",
        ip = at.ip(),
        port = at.port()
    )
}

fn media(reply: &str) -> Result<SocketAddrV4, String> {
    let at = reply.find("v=0").ok_or_else(|| format!("rtpengine says {reply}"))?;
    media_of(&reply.as_bytes()[at..]).ok_or_else(|| format!("rtpengine says {reply}"))
}
