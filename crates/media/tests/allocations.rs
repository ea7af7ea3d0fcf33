//! A packet is handled without allocation: a worker carries tens of thousands of packets per second.
#![allow(clippy::unwrap_used, missing_docs, unsafe_code)]

mod test_engine;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use base::Instant;
use centralita_media::sdp::Codec;
use centralita_media::{
    Component, DtmfMode, FileFormat, MediaCommand, MediaSink, RecordingId, Source, StartRecording, StreamId,
    Tone,
};
use test_engine::{A, B, PHONE_A, PHONE_B, Rtp, TestEngine, at, g711};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn packets_of_a_transcoded_call_are_relayed_without_allocating() {
    let mut test = TestEngine::bridged(g711(PHONE_A, Codec::Pcmu), g711(PHONE_B, Codec::Pcma));
    let mut passed = 0;
    for n in 0..200 {
        for (stream, from, payload_type) in [(A, PHONE_A, 0), (B, PHONE_B, 8), (A, "192.0.2.66:4000", 0)] {
            let mut bytes = Rtp { payload_type, ..Rtp::voice(7, n) }.bytes();
            let from = at(from);
            let before = COUNT.with(Cell::get);
            let forward =
                test.engine.packet(test.now, stream, Component::Rtp, from, &mut bytes, &mut test.events);
            assert_eq!(COUNT.with(Cell::get) - before, 0);
            passed += usize::from(forward.is_some());
        }
        test.advance(20);
    }
    assert_eq!(passed, 400);
}

struct Nowhere;

impl MediaSink for Nowhere {
    fn send(&mut self, _: StreamId, _: Component, _: std::net::SocketAddr, _: &[u8]) {}
}

#[test]
fn a_tone_is_rendered_once() {
    let mut test = TestEngine::g711_call();
    test.set_source(A, Source::Tone(Tone::Music));
    test.run(1_000);
    let before = COUNT.with(Cell::get);
    for _ in 0..500 {
        test.advance(20);
        test.engine.tick(test.now, &mut Nowhere, &mut test.events);
    }
    assert_eq!(COUNT.with(Cell::get) - before, 0);
}

#[test]
fn a_packet_with_recording_and_tone_detection_allocates_nothing() {
    let mut test = TestEngine::bridged(g711(PHONE_A, Codec::Pcmu), g711(PHONE_B, Codec::Pcma));
    let record = StartRecording {
        recording: RecordingId(1),
        left: A,
        right: Some(B),
        name: "one".into(),
        format: FileFormat::Wav,
        longest: None,
        quiet: None,
    };
    test.command(MediaCommand::StartRecording(Box::new(record)));
    test.command(MediaCommand::SetDtmfMode { stream: A, digits: DtmfMode::Tones });
    let count = || COUNT.with(Cell::get);
    let (mut allocated, mut deadline) = (0, None);
    for n in 0..200 {
        let mut bytes = Rtp::voice(7, n).bytes();
        let before = count();
        test.engine.packet(test.now, A, Component::Rtp, at(PHONE_A), &mut bytes, &mut test.events);
        allocated += count() - before;
        test.advance(20);
        test.engine.tick(test.now, &mut Nowhere, &mut test.events);
        deadline = test.engine.deadline().max(deadline);
    }
    assert_eq!(allocated, 0);
    assert!(deadline > Some(Instant::from_micros(3_900_000)), "blocks were emitted meanwhile");
}
