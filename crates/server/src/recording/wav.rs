//! WAV files (RIFF, 16-bit PCM, 8 kHz). The header is updated while the file is written, so that it is valid at any time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

/// Bytes of the header.
pub const HEADER: u64 = 44;

/// The header of a file with `bytes` bytes of audio.
pub fn header(channels: u16, bytes: u64) -> [u8; HEADER as usize] {
    // A size over 32 bits is capped; players still play to the end.
    let size = u32::try_from(bytes).unwrap_or(u32::MAX - 36);
    let mut header = [0; HEADER as usize];
    let mut place = 0;
    let mut put = |bytes: &[u8]| {
        header[place..place + bytes.len()].copy_from_slice(bytes);
        place += bytes.len();
    };
    put(b"RIFF");
    put(&(size + 36).to_le_bytes());
    put(b"WAVEfmt ");
    put(&16_u32.to_le_bytes());
    put(&1_u16.to_le_bytes());
    put(&channels.to_le_bytes());
    put(&8_000_u32.to_le_bytes());
    put(&(8_000 * 2 * u32::from(channels)).to_le_bytes());
    put(&(2 * channels).to_le_bytes());
    put(&16_u16.to_le_bytes());
    put(b"data");
    put(&size.to_le_bytes());
    header
}

/// Writer of a file.
#[derive(Debug)]
pub struct WavWriter {
    file: File,
    channels: u16,
    bytes: u64,
    /// Bytes of audio according to the header.
    header_bytes: u64,
}

impl WavWriter {
    /// Write the header of an empty file.
    pub fn new(mut file: File, channels: u16) -> io::Result<WavWriter> {
        file.write_all(&header(channels, 0))?;
        Ok(WavWriter { file, channels, bytes: 0, header_bytes: 0 })
    }

    /// Write interleaved samples.
    pub fn write(&mut self, audio: &[i16]) -> io::Result<()> {
        let bytes: Vec<u8> = audio.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        self.file.write_all(&bytes)?;
        self.bytes += bytes.len() as u64;
        if self.bytes - self.header_bytes >= 8_000 * u64::from(self.channels) {
            self.update_header()?;
        }
        Ok(())
    }

    fn update_header(&mut self) -> io::Result<()> {
        self.header_bytes = self.bytes;
        self.file.write_all_at(&header(self.channels, self.bytes), 0)
    }

    /// Update the header for the last time.
    pub fn finish(mut self) -> io::Result<File> {
        self.update_header()?;
        Ok(self.file)
    }
}

/// Correct the header of one of our files to its length. Returns the number of channels and the bytes of audio.
pub fn repair(file: &File) -> io::Result<(u16, u64)> {
    let channels = channels(file)?;
    let frame = 2 * u64::from(channels);
    let bytes = file.metadata()?.len().saturating_sub(HEADER) / frame * frame;
    file.set_len(HEADER + bytes)?;
    file.write_all_at(&header(channels, bytes), 0)?;
    Ok((channels, bytes))
}

fn channels(file: &File) -> io::Result<u16> {
    let mut head = [0; HEADER as usize];
    file.read_exact_at(&mut head, 0)?;
    let channels = u16::from_le_bytes([head[22], head[23]]);
    let ours = head.starts_with(b"RIFF") && &head[36..40] == b"data" && (1..=2).contains(&channels);
    if ours {
        Ok(channels)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "not a WAV file written by this program"))
    }
}

/// The audio of one of our files, at most `longest` samples per channel.
pub fn read(mut file: File, longest: usize) -> io::Result<super::Audio> {
    let channels = usize::from(channels(&file)?);
    let mut bytes = Vec::new();
    file.read_exact(&mut [0; HEADER as usize])?;
    file.take(longest as u64 * 2 * channels as u64).read_to_end(&mut bytes)?;
    let samples = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    Ok(super::Audio { channels, samples })
}
