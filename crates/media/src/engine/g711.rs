//! G.711: µ-law and A-law, and the transcoding tables between them.

/// The two companding laws of G.711.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Law {
    Mu,
    A,
}

impl Law {
    /// Encode a 16-bit sample.
    pub(super) const fn encode(self, sample: i16) -> u8 {
        match self {
            Law::Mu => encode_mu(sample),
            Law::A => encode_a(sample),
        }
    }

    /// Decode a byte to a 16-bit sample.
    pub(super) const fn decode(self, byte: u8) -> i16 {
        match self {
            Law::Mu => decode_mu(byte),
            Law::A => decode_a(byte),
        }
    }

    /// The byte of silence.
    pub(super) const fn silence(self) -> u8 {
        self.encode(0)
    }

    /// The peak of a sine at 0 dBm0: full scale lies 3.17 dB above it in µ-law and 3.14 dB in A-law (ITU-T G.711 §3), and is 8159 and 4096
    /// steps, here scaled to 16 bits.
    #[allow(clippy::approx_constant)] // 3.14 dB, not π
    pub(super) fn milliwatt_peak(self) -> f64 {
        match self {
            Law::Mu => 8_159.0 * 4.0 / 10f64.powf(3.17 / 20.0),
            Law::A => 4_096.0 * 8.0 / 10f64.powf(3.14 / 20.0),
        }
    }
}

const fn encode_mu(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (sample as i32).abs();
    let magnitude = if magnitude > 32_635 { 32_635 } else { magnitude } + 0x84;
    let segment = 31 - (magnitude as u32).leading_zeros() as i32 - 7; // the lowest possible bit of a biased magnitude is bit 7
    let step = (magnitude >> (segment + 3)) & 0x0f;
    !(sign | (segment << 4) as u8 | step as u8)
}

const fn decode_mu(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = ((((byte & 0x0f) as i32) << 3) + 0x84) << ((byte >> 4) & 7);
    let magnitude = (magnitude - 0x84) as i16;
    if byte & 0x80 != 0 { -magnitude } else { magnitude }
}

const fn encode_a(sample: i16) -> u8 {
    // Negative samples are offset by one, because A-law has no zero.
    let (sign, magnitude) = if sample < 0 { (0, !(sample as i32)) } else { (0x80, sample as i32) };
    let magnitude = magnitude >> 3; // 12 bits and sign
    let code = if magnitude < 32 {
        magnitude >> 1
    } else {
        let segment = 31 - (magnitude as u32).leading_zeros() as i32 - 4;
        (segment << 4) | ((magnitude >> segment) & 0x0f)
    };
    (sign | code as u8) ^ 0x55
}

const fn decode_a(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let segment = (byte >> 4) & 7;
    let step = ((byte & 0x0f) as i32) << 4;
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if byte & 0x80 != 0 { magnitude as i16 } else { -magnitude as i16 }
}

static MU_TO_A: [u8; 256] = table(Law::Mu, Law::A);
static A_TO_MU: [u8; 256] = table(Law::A, Law::Mu);

#[allow(clippy::indexing_slicing)] // evaluated at compile time
const fn table(from: Law, to: Law) -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = to.encode(from.decode(byte as u8));
        byte += 1;
    }
    table
}

/// Transcode a payload to the other law, in place.
pub(super) fn transcode(payload: &mut [u8], to: Law) {
    let table = match to {
        Law::A => &MU_TO_A,
        Law::Mu => &A_TO_MU,
    };
    for byte in payload {
        *byte = table.get(usize::from(*byte)).copied().unwrap_or(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_its_own_law() {
        for byte in 0..=255u8 {
            assert_eq!(Law::A.encode(Law::A.decode(byte)), byte, "A {byte:#x}");
            let back = Law::Mu.encode(Law::Mu.decode(byte));
            assert!(back == byte || (byte, back) == (0x7f, 0xff), "µ {byte:#x} {back:#x}"); // two codes for zero
        }
    }

    #[test]
    fn known_values() {
        // ITU-T G.711: silence, full scale and signs.
        assert_eq!((Law::Mu.silence(), Law::A.silence()), (0xff, 0xd5));
        assert_eq!((Law::Mu.encode(i16::MAX), Law::Mu.encode(i16::MIN)), (0x80, 0x00));
        assert_eq!((Law::A.encode(i16::MAX), Law::A.encode(i16::MIN)), (0xaa, 0x2a));
        assert_eq!((Law::Mu.decode(0x80), Law::A.decode(0xaa)), (32_124, 32_256));
    }

    #[test]
    fn transcoding_keeps_the_sound_within_a_step() {
        for byte in 0..=255u8 {
            let mut there = [byte];
            transcode(&mut there, Law::A);
            let (was, is) = (i32::from(Law::Mu.decode(byte)), i32::from(Law::A.decode(there[0])));
            assert!((was - is).abs() <= 16 + was.abs() / 16, "{byte:#x}: {was} {is}");
        }
    }
}
