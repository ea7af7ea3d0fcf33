//! Recording files: each party is on its channel, and the files are valid at any time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::f64::consts::TAU;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use api::{AudioError, AudioFile, AudioFormatRequest, AudioStore};
use media::{FileFormat, FileResult, MediaEvent, RecordingId, StartRecording, StreamId};
use server::recording::unclaimed::{Claim, Swept};
use server::recording::{Audio, AudioFileStore, RecordingSender, Writer, WriterConfig, ogg_opus, wav};
use server::supervisor::Supervisor;

const TIMEOUT: Duration = Duration::from_secs(20);
const ID: RecordingId = RecordingId(31);

struct TestWriter {
    data: PathBuf,
    sender: Option<RecordingSender>,
    writer: Option<Writer>,
    events: Receiver<MediaEvent>,
}

impl TestWriter {
    fn new(name: &str, reserve: u64) -> TestWriter {
        let data = std::env::temp_dir().join(format!("centralita-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&data).unwrap();
        let (event_sender, events) = channel();
        let event_sender = Mutex::new(event_sender);
        let on_event = Arc::new(move |event| drop(event_sender.lock().unwrap().send(event)));
        let (writer, mut senders) = Writer::spawn(
            WriterConfig { data: data.clone(), reserve },
            1,
            on_event,
            Supervisor::default().watch("test"),
        )
        .unwrap();
        TestWriter { data, sender: senders.pop(), writer: Some(writer), events }
    }

    fn sender(&mut self) -> &mut RecordingSender {
        self.sender.as_mut().unwrap()
    }

    fn begin(&mut self, name: &str, format: FileFormat, sides: usize) {
        let record = StartRecording {
            recording: ID,
            left: StreamId(1),
            right: (sides == 2).then_some(StreamId(2)),
            name: name.into(),
            format,
            longest: None,
            quiet: None,
        };
        self.sender().begin(Box::new(record));
    }

    /// Blocks of 100 ms with a tone on each channel.
    fn talk(&mut self, blocks: std::ops::Range<u64>, left: f64, right: Option<f64>) {
        for block in blocks {
            let tone = |hertz: f64| -> Vec<i16> {
                (0..800)
                    .map(|n| (8_000.0 * (TAU * hertz * (block * 800 + n) as f64 / 8_000.0).sin()) as i16)
                    .collect()
            };
            self.sender().audio(ID, block * 800, &tone(left), right.map(tone).as_deref());
        }
    }

    fn file_result(&mut self) -> FileResult {
        match self.events.recv_timeout(TIMEOUT).unwrap() {
            MediaEvent::FileClosed { recording: ID, file } => file,
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self) -> FileResult {
        self.sender().end(ID);
        self.file_result()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }
}

impl Drop for TestWriter {
    fn drop(&mut self) {
        self.sender.take();
        self.writer.take();
        std::fs::remove_dir_all(&self.data).ok();
    }
}

fn side(audio: &Audio, side: usize) -> Vec<i16> {
    audio.samples.iter().skip(side).step_by(audio.channels).copied().collect()
}

/// Amplitude of a frequency.
fn strength(samples: &[i16], hertz: f64) -> f64 {
    let (re, im) = samples.iter().enumerate().fold((0.0, 0.0), |(re, im), (n, s)| {
        let phase = TAU * hertz * n as f64 / 8_000.0;
        (re + f64::from(*s) * phase.cos(), im + f64::from(*s) * phase.sin())
    });
    2.0 * re.hypot(im) / samples.len() as f64
}

fn wav_of(path: &Path) -> Audio {
    wav::read(File::open(path).unwrap(), usize::MAX / 8).unwrap()
}

fn opus_of(path: &Path) -> Audio {
    ogg_opus::read(File::open(path).unwrap(), usize::MAX / 8).unwrap()
}

/// Read a WAV file; checks that its header is consistent, and that repairing it changes nothing.
fn try_wav(path: &Path) -> Option<Audio> {
    let before = std::fs::read(path).ok()?;
    let header_bytes = u64::from(u32::from_le_bytes(before.get(40..44)?.try_into().unwrap()));
    assert!(header_bytes + 44 <= before.len() as u64, "its header is consistent: {header_bytes}");
    let file = File::options().read(true).write(true).open(path).unwrap();
    assert_eq!(wav::repair(&file).unwrap(), (2, (before.len() as u64 - 44) / 4 * 4));
    Some(wav_of(path))
}

fn try_opus(path: &Path) -> Option<Audio> {
    ogg_opus::read(File::open(path).ok()?, usize::MAX / 8).ok()
}

#[test]
fn each_channel_of_a_file_has_its_party_and_not_the_other() {
    // S177
    let mut test_writer = TestWriter::new("sides", 0);
    for (format, name) in [(FileFormat::Wav, "recordings/a.wav"), (FileFormat::Opus, "recordings/a.ogg")] {
        test_writer.begin("recordings/a", format, 2);
        test_writer.talk(0..50, 440.0, Some(1_000.0));
        let FileResult::Complete { bytes, millis: 5_000, .. } = test_writer.end() else { panic!() };
        assert_eq!(bytes, std::fs::metadata(test_writer.path(name)).unwrap().len());
        let audio = if format == FileFormat::Wav {
            wav_of(&test_writer.path(name))
        } else {
            opus_of(&test_writer.path(name))
        };
        assert_eq!((audio.channels, audio.samples.len()), (2, 80_000), "{name}");
        for (n, own, other) in [(0, 440.0, 1_000.0), (1, 1_000.0, 440.0)] {
            let channel_audio = &side(&audio, n)[8_000..32_000];
            let (loud, faint) = (strength(channel_audio, own), strength(channel_audio, other));
            assert!(loud > 7_000.0 && faint < loud / 50.0, "{name}: {loud} {faint}");
        }
    }
}

#[test]
fn a_file_whose_writer_is_killed_plays_up_to_the_last_second() {
    for (format, name) in [(FileFormat::Wav, "cut.wav"), (FileFormat::Opus, "cut.ogg")] {
        let mut test_writer = TestWriter::new("cut", 0);
        test_writer.begin("cut", format, 2);
        test_writer.talk(0..95, 440.0, Some(1_000.0));
        // A copy is what a crash would leave. Without an end message only the last half second may be missing.
        let copy = test_writer.path("copy");
        let until = std::time::Instant::now() + TIMEOUT;
        let audio = loop {
            std::fs::copy(test_writer.path(name), &copy).ok();
            let read = if format == FileFormat::Wav { try_wav(&copy) } else { try_opus(&copy) };
            match read {
                Some(audio) if audio.samples.len() >= 2 * 8_000 * 85 / 10 => break audio,
                other => assert!(std::time::Instant::now() < until, "{:?}", other.map(|a| a.samples.len())),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let left = side(&audio, 0);
        assert!(strength(&left[8_000..56_000], 440.0) > 7_000.0);
    }
}

#[test]
fn lost_blocks_are_silence_at_their_position() {
    let mut test_writer = TestWriter::new("gap", 0);
    test_writer.begin("gap", FileFormat::Wav, 1);
    test_writer.talk(0..5, 440.0, None);
    test_writer.talk(10..15, 440.0, None);
    assert!(matches!(test_writer.end(), FileResult::Complete { millis: 1_500, .. }));
    let audio = wav_of(&test_writer.path("gap.wav"));
    assert_eq!((audio.channels, audio.samples.len()), (1, 12_000));
    assert!(audio.samples[4_000..8_000].iter().all(|s| *s == 0));
    assert!(strength(&audio.samples[8_000..], 440.0) > 7_000.0);
}

#[test]
fn a_full_disk_ends_the_recording_and_a_bad_name_writes_nowhere() {
    let mut test_writer = TestWriter::new("full", u64::MAX);
    test_writer.begin("recordings/a", FileFormat::Opus, 2);
    assert_eq!(test_writer.file_result(), FileResult::DiskFull);
    test_writer.talk(0..5, 440.0, Some(440.0));
    test_writer.sender().end(ID);
    drop(test_writer);
    let mut test_writer = TestWriter::new("device", 0);
    std::os::unix::fs::symlink("/dev/full", test_writer.path("a.wav")).unwrap();
    test_writer.begin("a", FileFormat::Wav, 2);
    assert_eq!(test_writer.file_result(), FileResult::DiskFull);
    for name in ["../a", "/tmp/a", "a/../../b", "", ".a", "a b"] {
        test_writer.begin(name, FileFormat::Wav, 1);
        assert_eq!(test_writer.file_result(), FileResult::Failed, "{name:?}");
    }
    // Other recordings continue.
    test_writer.begin("b", FileFormat::Wav, 1);
    test_writer.talk(0..5, 440.0, None);
    assert!(matches!(test_writer.end(), FileResult::Complete { millis: 500, .. }));
}

#[test]
fn a_stopping_server_closes_the_files_that_are_open() {
    let mut test_writer = TestWriter::new("stop", 0);
    test_writer.begin("a", FileFormat::Opus, 2);
    test_writer.talk(0..20, 440.0, Some(1_000.0));
    test_writer.writer.take();
    assert!(matches!(test_writer.file_result(), FileResult::Complete { millis: 2_000, .. }));
    assert_eq!(opus_of(&test_writer.path("a.ogg")).samples.len(), 32_000);
}

#[tokio::test]
async fn a_sweep_moves_unknown_files_aside_unless_they_are_recent() {
    // S72
    let data = std::env::temp_dir().join(format!("centralita-sweep-{}", std::process::id()));
    let store = AudioFileStore::new(&data, None);
    let old = SystemTime::now() - Duration::from_secs(3_700);
    for (path, age) in [
        ("voicemail/ext_1/vm_kept.ogg", old),
        ("voicemail/ext_1/vm_gone.ogg", old),
        ("voicemail/ext_1/vm_young.ogg", SystemTime::now()),
        ("voicemail/ext_2/greeting-abc.ogg", old),
        ("voicemail/stray.ogg", old),
        ("recordings/rec_1.ogg", old),
    ] {
        let path = data.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().set_modified(age).unwrap();
    }
    let claim = |owner: &str, name: &str| match (owner, name) {
        ("ext_1", "vm_kept") => Claim::Known,
        ("ext_1", "vm_gone") => Claim::Removed,
        _ => Claim::Unknown,
    };
    let swept = store.sweep("voicemail", None, claim).await.unwrap();
    assert_eq!(swept, Swept { removed: 1, moved: 1, ..Swept::default() });
    let left = |path: &str| data.join(path).exists();
    assert!(left("voicemail/ext_1/vm_kept.ogg") && left("voicemail/ext_1/vm_young.ogg"));
    assert!(left("voicemail/stray.ogg") && left("recordings/rec_1.ogg"));
    assert!(!left("voicemail/ext_1/vm_gone.ogg") && !left("voicemail/ext_2/greeting-abc.ogg"));
    assert!(left("unclaimed/voicemail/ext_2/greeting-abc.ogg"));
    assert_eq!(store.sweep("nothing", None, claim).await.unwrap(), Swept::default());
    std::fs::remove_dir_all(&data).ok();
}

#[tokio::test]
async fn a_file_is_stored_read_in_parts_renamed_and_removed() {
    let data = std::env::temp_dir().join(format!("centralita-shelf-{}", std::process::id()));
    let store = AudioFileStore::new(&data, None);
    let file = |name: &str| AudioFile::voicemail(format!("voicemail/ext_1/{name}"));
    let tone: Vec<i16> =
        (0..16_000).map(|n| (8_000.0 * (TAU * 440.0 * f64::from(n) / 8_000.0).sin()) as i16).collect();
    let mut bytes = wav::header(1, 32_000).to_vec();
    bytes.extend(tone.iter().flat_map(|sample| sample.to_le_bytes()));
    let whole = bytes::Bytes::from(bytes);
    store.keep_wav(file("draft").name, whole.clone()).await.unwrap();
    let refused = store.keep_wav(file("bad").name, b"RIFF nothing"[..].into()).await;
    assert!(matches!(refused, Err(AudioError::Unreadable(..))));
    assert_eq!(
        store.keep_wav("../draft".into(), whole.clone()).await,
        Err(AudioError::Disk),
        "never outside"
    );
    store.rename(&file("draft").name, &file("greeting").name).await.unwrap();
    assert!(strength(&store.samples(&file("greeting").name).await.unwrap(), 440.0) > 7_000.0);

    let stored = store.open(file("greeting"), AudioFormatRequest::Stored).await.unwrap();
    let ogg = std::fs::read(data.join("voicemail/ext_1/greeting.ogg")).unwrap();
    assert_eq!((stored.length, stored.content_type), (ogg.len() as u64, "audio/ogg"));
    assert_eq!((stored.read)(100..164).await.unwrap(), ogg[100..164]);
    let wav = store.open(file("greeting"), AudioFormatRequest::Wav).await.unwrap();
    assert_eq!((wav.length, wav.content_type), (32_044, "audio/wav"));
    assert_eq!((wav.read)(0..44).await.unwrap(), wav::header(1, 32_000)[..]);

    for _ in 0..2 {
        store.remove(file("greeting")).await.unwrap();
    }
    let gone = store.open(file("greeting"), AudioFormatRequest::Stored).await.err().map(|error| error.kind());
    assert_eq!(gone, Some(std::io::ErrorKind::NotFound));
    std::fs::remove_dir_all(&data).ok();
}
