//! SDP of the test phones.

/// An offer or answer with this address and these payload types.
pub fn sdp(ip: &str, port: u16, formats: &str, direction: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\n\
         a=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    )
}

/// Address and port of the media line.
pub fn wants(body: &[u8]) -> (String, u16) {
    let text = String::from_utf8_lossy(body).into_owned();
    let field = |line: &str, n: usize| line.split_whitespace().nth(n).unwrap_or_default().to_string();
    let c = text.lines().find(|l| l.starts_with("c=")).expect("a c= line");
    let m = text.lines().find(|l| l.starts_with("m=audio")).expect("an audio stream");
    (field(c, 2), field(m, 1).parse().unwrap())
}

/// Payload types of the audio stream.
pub fn formats(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    let m = text.lines().find(|l| l.starts_with("m=audio")).expect("an audio stream");
    m.split_whitespace().skip(3).collect::<Vec<_>>().join(" ")
}

/// The direction attribute; `sendrecv` if there is none.
pub fn direction(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    let known = ["a=sendonly", "a=recvonly", "a=inactive", "a=sendrecv"];
    text.lines().map(str::trim_end).find(|l| known.contains(l)).map_or("sendrecv", |l| &l[2..]).into()
}
