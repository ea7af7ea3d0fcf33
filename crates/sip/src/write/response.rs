//! Response serialisation: the fields copied from the request, then the response's own (RFC 3261 §8.2.6).

use std::net::IpAddr;

use super::{Headers, Reply, clean, finish, line, number};
use crate::headers::{Params, ViaSpans};
use crate::lexer::Span;
use crate::{HeaderName, Hop, Message, Method, reason_phrase};

/// Append the complete response to `request` to `out`.
///
/// `source` is the hop of the request: the topmost Via gets `received` and `rport` from it (RFC 3261 §18.2.1, RFC 3581 §4); without it the Via stays
/// unchanged. `to_tag` is appended to a To without tag, except on 100. Record-Route is copied if the response may create a dialog. `software` becomes
/// the Server header. The request may be one that failed to parse: fields that it lacks are omitted.
pub(crate) fn response(
    request: &Message,
    source: Option<&Hop>,
    reply: Reply<'_>,
    to_tag: Option<&str>,
    software: Option<&str>,
    out: &mut Vec<u8>,
) {
    let status = reply.status;
    out.reserve(
        512 + reply.body.map_or(0, |(_, body)| body.len())
            + reply.lines.map_or(0, |lines| lines.as_bytes().len()),
    );
    out.extend_from_slice(b"SIP/2.0 ");
    number(out, u64::from(status));
    out.push(b' ');
    clean(out, reply.phrase.unwrap_or_else(|| reason_phrase(status)));
    out.extend_from_slice(b"\r\n");
    write_vias(request, source, out);
    let may_create_dialog =
        matches!(request.method(), Method::Invite | Method::Subscribe | Method::Refer | Method::Notify);
    if may_create_dialog && (101..300).contains(&status) {
        for route in request.clean_lines(HeaderName::RecordRoute) {
            line(out, "Record-Route", route);
        }
    }
    if let Some(from) = request.clean_lines(HeaderName::From).next() {
        line(out, "From", from);
    }
    if let Some(to) = request.clean_lines(HeaderName::To).next() {
        out.extend_from_slice(b"To: ");
        out.extend_from_slice(to);
        if let Some(tag) = to_tag.filter(|_| status > 100 && request.to_tag().is_empty()) {
            out.extend_from_slice(b";tag=");
            clean(out, tag);
        }
        out.extend_from_slice(b"\r\n");
    }
    for name in [HeaderName::CallId, HeaderName::CSeq] {
        if let Some(value) = request.clean_lines(name).next() {
            line(out, name.as_str(), value);
        }
    }
    if status == 100
        && let Some(stamp) = request.clean_lines(HeaderName::Timestamp).next()
    {
        line(out, "Timestamp", stamp); // RFC 3261 §8.2.6.1
    }
    if let Some(software) = software {
        out.extend_from_slice(b"Server: ");
        clean(out, software);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(reply.lines.map(Headers::as_bytes).unwrap_or_default());
    finish(out, reply.body);
}

fn write_vias(request: &Message, source: Option<&Hop>, out: &mut Vec<u8>) {
    for (i, text) in request.clean_lines(HeaderName::Via).enumerate() {
        match (source, request.via_spans()) {
            (Some(hop), Some(spans)) if i == 0 => {
                out.extend_from_slice(b"Via: ");
                write_topmost_via(text, spans, hop, out);
                out.extend_from_slice(b"\r\n");
            }
            _ => line(out, "Via", text),
        }
    }
}

/// Write the first Via line with `received` and `rport` from the socket; values that the peer wrote there are dropped.
fn write_topmost_via(text: &[u8], spans: &ViaSpans, hop: &Hop, out: &mut Vec<u8>) {
    let value = Span { start: 0, end: spans.end }.of(text);
    out.extend_from_slice(Span { start: 0, end: spans.params }.of(text).trim_ascii_end());
    for param in Params::new(value, spans.params as usize).flatten() {
        let name = param.name.of(value);
        if name.eq_ignore_ascii_case(b"rport") || name.eq_ignore_ascii_case(b"received") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(name);
        if param.value.end > 0 {
            let quote: &[u8] = if param.quoted { b"\"" } else { b"" };
            out.push(b'=');
            out.extend_from_slice(quote);
            out.extend_from_slice(param.value.of(value));
            out.extend_from_slice(quote);
        }
    }
    let remote = hop.remote.ip().to_canonical();
    if spans.rport.is_some() {
        out.extend_from_slice(b";rport=");
        number(out, u64::from(hop.remote.port()));
    }
    if spans.rport.is_some() || !is_source_address(spans.host.of(text), remote) {
        out.extend_from_slice(b";received=");
        clean(out, remote);
    }
    out.extend_from_slice(text.get(spans.end as usize..).unwrap_or_default());
}

/// Whether the host of sent-by is the source address of the request.
fn is_source_address(host: &[u8], remote: IpAddr) -> bool {
    let text = std::str::from_utf8(host).unwrap_or_default();
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical() == remote)
}
