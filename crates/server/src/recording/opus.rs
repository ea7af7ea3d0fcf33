//! Opus codec (RFC 6716): safe wrapper of libopus translated to Rust, the only module that handles its pointers.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use unsafe_libopus::{
    OPUS_APPLICATION_RESTRICTED_LOWDELAY, OPUS_GET_LOOKAHEAD_REQUEST, OPUS_SET_BITRATE_REQUEST,
    OPUS_SET_COMPLEXITY_REQUEST, OpusDecoder, OpusEncoder, opus_decode, opus_decoder_create,
    opus_decoder_destroy, opus_encode, opus_encoder_create, opus_encoder_ctl, opus_encoder_destroy,
};

/// Samples per second and channel.
pub(super) const RATE: i32 = 8_000;
/// Samples per channel of one packet: 20 ms.
pub(super) const FRAME: usize = 160;
/// Bits per second and channel: each party has its own channel, and crosstalk between the channels must not be audible.
const BITRATE: i32 = 32_000;
/// Upper bound of a packet of 20 ms, bytes (RFC 6716 §3.4).
const MAX_PACKET_BYTES: usize = 1_275;
/// Samples per channel of the longest packet of a foreign encoder: 120 ms.
const MAX_FRAME: usize = 960;
/// Encoder complexity, 0 to 10: 8 kHz speech gains nothing from more.
const COMPLEXITY: i32 = 5;

/// Error code of libopus.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("libopus error {0}")]
pub(super) struct OpusError(i32);

/// Encodes blocks of 20 ms.
#[derive(Debug)]
pub(super) struct Encoder {
    state: NonNull<OpusEncoder>,
    channels: usize,
}

// SAFETY: the state is memory that only its owner accesses; libopus keeps no thread-local state.
unsafe impl Send for Encoder {}

impl Encoder {
    /// An encoder for one or two channels.
    pub(super) fn new(channels: usize) -> Result<Encoder, OpusError> {
        let mut error = 0;
        // CELT, not SILK: SILK would mix the channels into mid and side.
        let application = OPUS_APPLICATION_RESTRICTED_LOWDELAY;
        // SAFETY: plain numbers and a place for the error; the result is checked.
        let state = unsafe { opus_encoder_create(RATE, channels as i32, application, &raw mut error) };
        let state = NonNull::new(state).ok_or(OpusError(error))?;
        let encoder = Encoder { state, channels };
        encoder.set(OPUS_SET_BITRATE_REQUEST, BITRATE * channels as i32)?;
        encoder.set(OPUS_SET_COMPLEXITY_REQUEST, COMPLEXITY)?;
        Ok(encoder)
    }

    fn set(&self, request: i32, value: i32) -> Result<(), OpusError> {
        // SAFETY: the state is alive, and both requests take one number.
        let status = unsafe { opus_encoder_ctl!(self.state.as_ptr(), request, value) };
        if status == 0 { Ok(()) } else { Err(OpusError(status)) }
    }

    /// Delay of the decoded audio, in samples per channel.
    pub(super) fn lookahead(&self) -> u16 {
        let mut samples = 0_i32;
        // SAFETY: the state is alive, and this request takes a place for one number.
        let status =
            unsafe { opus_encoder_ctl!(self.state.as_ptr(), OPUS_GET_LOOKAHEAD_REQUEST, &mut samples) };
        if status == 0 { u16::try_from(samples).unwrap_or(0) } else { 0 }
    }

    /// One packet of [`FRAME`] samples per channel, interleaved.
    pub(super) fn encode(&mut self, audio: &[i16]) -> Result<Vec<u8>, OpusError> {
        if audio.len() != FRAME * self.channels {
            return Err(OpusError(-1)); // OPUS_BAD_ARG
        }
        let mut packet = vec![0; MAX_PACKET_BYTES];
        // SAFETY: both buffers have the given lengths: the frame was checked above.
        let length = unsafe {
            opus_encode(
                self.state.as_ptr(),
                audio.as_ptr(),
                FRAME as i32,
                packet.as_mut_ptr(),
                MAX_PACKET_BYTES as i32,
            )
        };
        packet.truncate(usize::try_from(length).map_err(|_| OpusError(length))?);
        Ok(packet)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: created by `opus_encoder_create`, and not used after this.
        unsafe { opus_encoder_destroy(self.state.as_ptr()) };
    }
}

/// Decodes packets to 8 kHz, whatever their sample rate.
#[derive(Debug)]
pub(super) struct Decoder {
    state: NonNull<OpusDecoder>,
    channels: usize,
}

// SAFETY: as with the encoder.
unsafe impl Send for Decoder {}

impl Decoder {
    /// A decoder for one or two channels.
    pub(super) fn new(channels: usize) -> Result<Decoder, OpusError> {
        let mut error = 0;
        // SAFETY: plain numbers and a place for the error; the result is checked.
        let state = unsafe { opus_decoder_create(RATE, channels as i32, &raw mut error) };
        Ok(Decoder { state: NonNull::new(state).ok_or(OpusError(error))?, channels })
    }

    /// Decode a packet and append the interleaved samples to `into`.
    pub(super) fn decode(&mut self, packet: &[u8], into: &mut Vec<i16>) -> Result<(), OpusError> {
        let mut audio = [0; MAX_FRAME * 2];
        let bytes = i32::try_from(packet.len()).map_err(|_| OpusError(-4))?; // OPUS_INVALID_PACKET
        // SAFETY: the packet has the given length, and the buffer holds the longest packet of two channels.
        let samples = unsafe {
            opus_decode(self.state.as_ptr(), packet.as_ptr(), bytes, audio.as_mut_ptr(), MAX_FRAME as i32, 0)
        };
        let samples = usize::try_from(samples).map_err(|_| OpusError(samples))?;
        into.extend(audio.get(..samples * self.channels).unwrap_or_default());
        Ok(())
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: created by `opus_decoder_create`, and not used after this.
        unsafe { opus_decoder_destroy(self.state.as_ptr()) };
    }
}
