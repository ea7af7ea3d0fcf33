//! Ogg Opus files (RFC 7845): written in pages of half a second, so that a crash loses no more than that; read back as PCM of 8 kHz.

use std::io::{self, Read, Seek, Write};

use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};

use super::opus::{Decoder, Encoder, FRAME};

/// Granule positions count samples of 48 kHz (RFC 7845 §4): 6 per sample of 8 kHz.
const SCALE: u64 = 6;
/// Packets per page.
const PACKETS_PER_PAGE: u32 = 25;
/// Vendor string of the file.
const VENDOR: &str = "Centralita";

/// Writer of a file.
pub struct OggWriter<W: Write> {
    pages: PacketWriter<'static, W>,
    encoder: Encoder,
    serial: u32,
    channels: usize,
    skip: u64,
    /// Samples per channel received so far.
    samples_in: u64,
    /// Packets written, and those in the current page.
    packets: u64,
    page_packets: u32,
    frame: Vec<i16>,
    /// The latest packet: held back, because the last packet of a file must close the stream.
    held: Option<Vec<u8>>,
}

impl<W: Write> OggWriter<W> {
    /// Write the two header pages.
    pub fn new(out: W, channels: usize, serial: u32) -> io::Result<OggWriter<W>> {
        let encoder = Encoder::new(channels).map_err(io::Error::other)?;
        let skip = u64::from(encoder.lookahead()) * SCALE;
        let mut pages = PacketWriter::new(out);
        let mut head = b"OpusHead\x01".to_vec();
        head.push(channels as u8);
        head.extend((skip as u16).to_le_bytes());
        head.extend(8_000_u32.to_le_bytes());
        head.extend([0, 0, 0]); // no gain; one stream, or left and right
        pages.write_packet(head, serial, PacketWriteEndInfo::EndPage, 0)?;
        let mut tags = b"OpusTags".to_vec();
        tags.extend((VENDOR.len() as u32).to_le_bytes());
        tags.extend(VENDOR.as_bytes());
        tags.extend(0_u32.to_le_bytes());
        pages.write_packet(tags, serial, PacketWriteEndInfo::EndPage, 0)?;
        let frame = Vec::with_capacity(FRAME * channels);
        Ok(OggWriter {
            pages,
            encoder,
            serial,
            channels,
            skip,
            samples_in: 0,
            packets: 0,
            page_packets: 0,
            frame,
            held: None,
        })
    }

    /// Write interleaved samples.
    pub fn write(&mut self, audio: &[i16]) -> io::Result<()> {
        self.samples_in += (audio.len() / self.channels) as u64;
        for sample in audio {
            self.frame.push(*sample);
            if self.frame.len() == FRAME * self.channels {
                self.encode()?;
            }
        }
        Ok(())
    }

    fn encode(&mut self) -> io::Result<()> {
        let packet = self.encoder.encode(&self.frame).map_err(io::Error::other)?;
        self.frame.clear();
        if let Some(before) = self.held.replace(packet) {
            self.page_packets += 1;
            let end = if self.page_packets >= PACKETS_PER_PAGE {
                PacketWriteEndInfo::EndPage
            } else {
                PacketWriteEndInfo::NormalPacket
            };
            self.write_packet(before, end)?;
        }
        Ok(())
    }

    fn write_packet(&mut self, packet: Vec<u8>, end: PacketWriteEndInfo) -> io::Result<()> {
        self.packets += 1;
        let mut position = self.packets * FRAME as u64 * SCALE;
        if matches!(end, PacketWriteEndInfo::EndStream) {
            position = position.min(self.skip + self.samples_in * SCALE); // without the padding
        }
        if !matches!(end, PacketWriteEndInfo::NormalPacket) {
            self.page_packets = 0;
        }
        self.pages.write_packet(packet, self.serial, end, position)
    }

    /// Write the remaining samples and close the stream.
    pub fn finish(mut self) -> io::Result<W> {
        // Silence flushes the samples that the encoder holds back (lookahead).
        let total = self.samples_in * SCALE + self.skip;
        while !self.frame.len().is_multiple_of(FRAME * self.channels)
            || (self.packets + u64::from(self.held.is_some())) * FRAME as u64 * SCALE < total
        {
            self.frame.resize(FRAME * self.channels, 0);
            self.encode()?;
        }
        if let Some(last) = self.held.take() {
            self.write_packet(last, PacketWriteEndInfo::EndStream)?;
        }
        Ok(self.pages.into_inner())
    }
}

/// PCM audio of 8 kHz.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audio {
    /// 1, or 2 (interleaved).
    pub channels: usize,
    /// The samples.
    pub samples: Vec<i16>,
}

impl Audio {
    /// Mixed down to one channel.
    pub fn mono(self) -> Vec<i16> {
        if self.channels == 1 {
            return self.samples;
        }
        let mix = |both: &[i16]| {
            (both.iter().map(|s| i32::from(*s)).sum::<i32>() / both.len().max(1) as i32) as i16
        };
        self.samples.chunks(self.channels).map(mix).collect()
    }
}

/// Decode a file, at most `longest` samples per channel. A truncated file is decoded as far as possible.
pub fn read<R: Read + Seek>(file: R, longest: usize) -> io::Result<Audio> {
    let mut samples = Vec::new();
    let channels = decode(file, |channels, audio| {
        let room = (longest * channels).saturating_sub(samples.len());
        samples.extend(audio.iter().take(room));
        Ok(())
    })?;
    Ok(Audio { channels, samples })
}

/// Decode a file packet by packet; `each` gets the number of channels and the interleaved samples. Returns the number of channels.
pub fn decode<R: Read + Seek>(
    file: R,
    mut each: impl FnMut(usize, &[i16]) -> io::Result<()>,
) -> io::Result<usize> {
    let (mut packets, channels, skip) = open(file)?;
    let mut decoder = Decoder::new(channels).map_err(io::Error::other)?;
    let (mut left, mut at, mut samples) = (skip as usize * channels, 0, Vec::new());
    // An error in the middle is where a crash has truncated the file.
    while let Ok(Some(packet)) = packets.read_packet() {
        samples.clear();
        if decoder.decode(&packet.data, &mut samples).is_err() {
            break;
        }
        if packet.last_in_stream() {
            let end = (packet.absgp_page() / SCALE) as usize * channels;
            samples.truncate(end.saturating_sub(at));
        }
        at += samples.len();
        let skipped = left.min(samples.len());
        left -= skipped;
        each(channels, samples.get(skipped..).unwrap_or_default())?;
    }
    Ok(channels)
}

/// The packets after the headers, the number of channels, and the number of samples of 8 kHz to skip.
fn open<R: Read + Seek>(file: R) -> io::Result<(PacketReader<R>, usize, u64)> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut packets = PacketReader::new(file);
    let head = packets.read_packet_expected().map_err(|error| bad(&format!("not an Ogg file: {error}")))?;
    let (channels, skip) = match head.data.get(..12) {
        Some([b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', _, channels @ 1..=2, low, high]) => {
            (usize::from(*channels), u64::from(u16::from_le_bytes([*low, *high])))
        }
        _ => return Err(bad("not Opus with one or two channels")),
    };
    packets.read_packet_expected().map_err(|_| bad("no OpusTags header"))?;
    Ok((packets, channels, skip / SCALE))
}

/// Duration of a file in ms, by the position of its last complete page.
pub fn millis<R: Read + Seek>(file: R) -> io::Result<u64> {
    let (mut packets, _, skip) = open(file)?;
    let mut position = 0;
    while let Ok(Some(packet)) = packets.read_packet() {
        position = packet.absgp_page();
    }
    Ok((position / SCALE).saturating_sub(skip) / 8)
}
