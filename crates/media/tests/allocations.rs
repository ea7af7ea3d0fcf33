//! A packet costs no allocation: a worker carries tens of thousands a second.
#![allow(clippy::unwrap_used, missing_docs, unsafe_code)]

mod desk;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use base::Instant;
use centralita_media::sdp::Codec;
use centralita_media::{
    Component, DtmfMode, FileFormat, MediaCommand, MediaSink, RecordingId, Source, StartRecording, StreamId,
    Tone,
};
use desk::{A, B, Desk, PHONE_A, PHONE_B, Rtp, at, g711};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is handed on to the system's allocator as it came.
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
fn packets_of_a_call_between_both_laws_are_carried_without_allocating() {
    let mut desk = Desk::bridged(g711(PHONE_A, Codec::Pcmu), g711(PHONE_B, Codec::Pcma));
    let mut passed = 0;
    for n in 0..200 {
        for (stream, from, number) in [(A, PHONE_A, 0), (B, PHONE_B, 8), (A, "192.0.2.66:4000", 0)] {
            let mut bytes = Rtp { number, ..Rtp::voice(7, n) }.bytes();
            let from = at(from);
            let before = COUNT.with(Cell::get);
            let forward =
                desk.engine.packet(desk.now, stream, Component::Rtp, from, &mut bytes, &mut desk.events);
            assert_eq!(COUNT.with(Cell::get) - before, 0);
            passed += usize::from(forward.is_some());
        }
        desk.wait(20);
    }
    assert_eq!(passed, 400);
}

struct Nowhere;

impl MediaSink for Nowhere {
    fn send(&mut self, _: StreamId, _: Component, _: std::net::SocketAddr, _: &[u8]) {}
}

#[test]
fn a_tone_is_rendered_once() {
    let mut desk = Desk::g711_call();
    desk.feed(A, Source::Tone(Tone::Music));
    desk.play(1_000);
    let before = COUNT.with(Cell::get);
    for _ in 0..500 {
        desk.wait(20);
        desk.engine.tick(desk.now, &mut Nowhere, &mut desk.events);
    }
    assert_eq!(COUNT.with(Cell::get) - before, 0);
}

#[test]
fn a_packet_that_is_recorded_and_listened_to_allocates_nothing_either() {
    let mut desk = Desk::bridged(g711(PHONE_A, Codec::Pcmu), g711(PHONE_B, Codec::Pcma));
    let record = StartRecording {
        recording: RecordingId(1),
        left: A,
        right: Some(B),
        name: "one".into(),
        format: FileFormat::Wav,
        longest: None,
        quiet: None,
    };
    desk.command(MediaCommand::StartRecording(Box::new(record)));
    desk.command(MediaCommand::SetDtmfMode { stream: A, digits: DtmfMode::Tones });
    let count = || COUNT.with(Cell::get);
    let (mut allocated, mut deadline) = (0, None);
    for n in 0..200 {
        let mut bytes = Rtp::voice(7, n).bytes();
        let before = count();
        desk.engine.packet(desk.now, A, Component::Rtp, at(PHONE_A), &mut bytes, &mut desk.events);
        allocated += count() - before;
        desk.wait(20);
        desk.engine.tick(desk.now, &mut Nowhere, &mut desk.events);
        deadline = desk.engine.deadline().max(deadline);
    }
    assert_eq!(allocated, 0);
    assert!(deadline > Some(Instant::from_micros(3_900_000)), "blocks were handed out meanwhile");
}
