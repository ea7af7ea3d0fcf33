//! Keeping some codecs of a description and leaving the others out, as a carrier wants it.

use super::{Description, Offer};

impl Description {
    /// Keep only the audio codecs of these names, with the telephone-event and comfort noise beside them. An empty list keeps all.
    pub fn keep_codecs(&mut self, names: &[String]) {
        if names.is_empty() {
            return;
        }
        for media in self.media.iter_mut().filter(|media| media.is_audio()) {
            let wanted = |name: &str| names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
            let payloads = media.payloads();
            let kept = payloads.iter().filter(|p| !p.codec.is_audio() || wanted(p.codec.name()));
            let kept: Vec<u8> = kept.map(|p| p.number).collect();
            media.formats.retain(|format| format.parse().is_ok_and(|number: u8| kept.contains(&number)));
            media.lines.retain(|line| {
                let number = line.payload_of("rtpmap").or_else(|| line.payload_of("fmtp"));
                number.is_none_or(|number| kept.contains(&number))
            });
        }
    }
}

impl Offer {
    /// The same offer with only these codecs; see [`Description::keep_codecs`].
    #[must_use]
    pub fn only(mut self, names: &[String]) -> Offer {
        if !names.is_empty() {
            self.description.keep_codecs(names);
            self.bytes = self.description.to_bytes();
        }
        self
    }
}
