//! Restricting the codecs of a description: to those that a trunk allows, or to those that can be recorded.

use super::{Codec, Offer, SessionDescription};

impl SessionDescription {
    /// Keep only the audio codecs with these names, and telephone-event and comfort noise. An empty list keeps all.
    pub fn keep_codecs(&mut self, names: &[String]) {
        let wanted = |codec: &Codec| names.iter().any(|wanted| wanted.eq_ignore_ascii_case(codec.name()));
        if !names.is_empty() {
            self.retain_payloads(|codec| !codec.is_audio() || wanted(codec));
        }
    }

    fn retain_payloads(&mut self, wanted: impl Fn(&Codec) -> bool) {
        for media in self.media.iter_mut().filter(|media| media.is_audio()) {
            let payloads = media.payloads();
            let kept: Vec<u8> = payloads.iter().filter(|p| wanted(&p.codec)).map(|p| p.number).collect();
            media.formats.retain(|format| format.parse().is_ok_and(|number: u8| kept.contains(&number)));
            media.lines.retain(|line| {
                let number = line.payload_of("rtpmap").or_else(|| line.payload_of("fmtp"));
                number.is_none_or(|number| kept.contains(&number))
            });
        }
    }
}

impl Offer {
    /// The same offer restricted to these codecs; see [`SessionDescription::keep_codecs`].
    #[must_use]
    pub fn restrict_codecs(mut self, names: &[String]) -> Offer {
        if !names.is_empty() {
            self.description.keep_codecs(names);
            self.bytes = self.description.to_bytes();
        }
        self
    }

    /// The same offer restricted to G.711, which can be recorded. An offer without G.711 is unchanged.
    #[must_use]
    pub fn recordable(mut self) -> Offer {
        if self.description.codecs().iter().any(Codec::is_g711) {
            // Telephone-event and comfort noise of a wideband codec are removed with it.
            self.description
                .retain_payloads(|codec| codec.is_g711() || !codec.is_audio() && codec.clock() == 8_000);
            self.bytes = self.description.to_bytes();
        }
        self
    }
}
