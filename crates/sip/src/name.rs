//! Header field names: those that this crate reads, as an enum; all others as `Other`.

macro_rules! names {
    ($($variant:ident = $long:literal $(| $short:literal)?),* $(,)?) => {
        /// A header field that this crate or its users look up. Compact forms map to the long ones (RFC 3261 §7.3.3).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum HeaderName {
            $($variant,)*
            /// Any other header field.
            Other,
        }

        /// Every name with its long form.
        const LONG: &[(&str, HeaderName)] = &[$(($long, HeaderName::$variant)),*];

        impl HeaderName {
            /// The canonical long form; empty for [`HeaderName::Other`].
            pub fn as_str(self) -> &'static str {
                match self {
                    $(HeaderName::$variant => $long,)*
                    HeaderName::Other => "",
                }
            }

            fn compact(letter: u8) -> HeaderName {
                match letter.to_ascii_lowercase() {
                    $($($short => HeaderName::$variant,)?)*
                    _ => HeaderName::Other,
                }
            }
        }
    };
}

names! {
    Accept = "Accept", Alert = "Alert-Info", Allow = "Allow", AllowEvents = "Allow-Events" | b'u',
    Authorization = "Authorization", CallId = "Call-ID" | b'i', Contact = "Contact" | b'm',
    ContentDisposition = "Content-Disposition", ContentEncoding = "Content-Encoding" | b'e',
    ContentLength = "Content-Length" | b'l', ContentType = "Content-Type" | b'c', CSeq = "CSeq", Date = "Date",
    Diversion = "Diversion", Event = "Event" | b'o', Expires = "Expires", From = "From" | b'f',
    HistoryInfo = "History-Info", MaxForwards = "Max-Forwards", MinExpires = "Min-Expires", MinSe = "Min-SE",
    PAssertedIdentity = "P-Asserted-Identity", PPreferredIdentity = "P-Preferred-Identity", Path = "Path",
    Privacy = "Privacy", ProxyAuthenticate = "Proxy-Authenticate", ProxyAuthorization = "Proxy-Authorization",
    ProxyRequire = "Proxy-Require", RAck = "RAck", RSeq = "RSeq", Reason = "Reason", RecordRoute = "Record-Route",
    ReferTo = "Refer-To" | b'r', ReferredBy = "Referred-By" | b'b', RemotePartyId = "Remote-Party-ID",
    Replaces = "Replaces", Require = "Require", RetryAfter = "Retry-After", Route = "Route", Server = "Server",
    SessionExpires = "Session-Expires" | b'x', SubscriptionState = "Subscription-State", Supported = "Supported" | b'k',
    Timestamp = "Timestamp", To = "To" | b't', Unsupported = "Unsupported", UserAgent = "User-Agent", Via = "Via" | b'v',
    Warning = "Warning", WwwAuthenticate = "WWW-Authenticate",
}

/// Length of the longest name in [`LONG`].
const MAX_LENGTH: usize = 20;
/// Maximum number of names of one length.
const MAX_PER_LENGTH: usize = 8;

/// The names by length, so that a lookup compares only the names of that length.
static BY_LENGTH: [[Option<(&str, HeaderName)>; MAX_PER_LENGTH]; MAX_LENGTH + 1] = by_length();

#[allow(clippy::indexing_slicing)] // runs at compile time only: too long a name, or too many of one length, would not compile
const fn by_length() -> [[Option<(&'static str, HeaderName)>; MAX_PER_LENGTH]; MAX_LENGTH + 1] {
    let mut table = [[None; MAX_PER_LENGTH]; MAX_LENGTH + 1];
    let mut used = [0; MAX_LENGTH + 1];
    let mut i = 0;
    while i < LONG.len() {
        let len = LONG[i].0.len();
        table[len][used[len]] = Some(LONG[i]);
        used[len] += 1;
        i += 1;
    }
    table
}

impl HeaderName {
    /// The name for the text before the colon, case-insensitive; compact forms included.
    pub fn of(token: &[u8]) -> HeaderName {
        if let [letter] = token {
            return HeaderName::compact(*letter);
        }
        let (Some(first), Some(row)) = (token.first(), BY_LENGTH.get(token.len())) else {
            return HeaderName::Other;
        };
        for &(long, name) in row.iter().map_while(Option::as_ref) {
            let long = long.as_bytes();
            let same_initial = long.first().is_some_and(|b| (b ^ first) & !0x20 == 0);
            // Most peers write the canonical form, and comparing the bytes unchanged is much cheaper.
            if same_initial && (long == token || long.eq_ignore_ascii_case(token)) {
                return name;
            }
        }
        HeaderName::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_by_its_compact_form() {
        for (long, name) in LONG {
            assert_eq!(HeaderName::of(long.to_uppercase().as_bytes()), *name);
            assert_eq!(name.as_str(), *long);
        }
        assert_eq!(
            (HeaderName::of(b"i"), HeaderName::of(b"V"), HeaderName::of(b"x")),
            (HeaderName::CallId, HeaderName::Via, HeaderName::SessionExpires)
        );
        assert_eq!(
            (HeaderName::of(b"X-Other"), HeaderName::of(b""), HeaderName::of(b"q")),
            (HeaderName::Other, HeaderName::Other, HeaderName::Other)
        );
    }
}
