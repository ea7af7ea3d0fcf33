//! Files of recordings: what is heard is in them, each party on its side, and they are whole at any time.
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

const PATIENCE: Duration = Duration::from_secs(20);
const ID: RecordingId = RecordingId(31);

struct Desk {
    data: PathBuf,
    tape: Option<RecordingSender>,
    writer: Option<Writer>,
    events: Receiver<MediaEvent>,
}

impl Desk {
    fn new(name: &str, reserve: u64) -> Desk {
        let data = std::env::temp_dir().join(format!("centralita-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&data).unwrap();
        let (told, events) = channel();
        let told = Mutex::new(told);
        let tell = Arc::new(move |event| drop(told.lock().unwrap().send(event)));
        let (writer, mut tapes) = Writer::spawn(
            WriterConfig { data: data.clone(), reserve },
            1,
            tell,
            Supervisor::default().watch("test"),
        )
        .unwrap();
        Desk { data, tape: tapes.pop(), writer: Some(writer), events }
    }

    fn tape(&mut self) -> &mut RecordingSender {
        self.tape.as_mut().unwrap()
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
        self.tape().begin(Box::new(record));
    }

    /// Blocks of 100 ms with a tone on each side.
    fn talk(&mut self, blocks: std::ops::Range<u64>, left: f64, right: Option<f64>) {
        for block in blocks {
            let tone = |hertz: f64| -> Vec<i16> {
                (0..800)
                    .map(|n| (8_000.0 * (TAU * hertz * (block * 800 + n) as f64 / 8_000.0).sin()) as i16)
                    .collect()
            };
            self.tape().audio(ID, block * 800, &tone(left), right.map(tone).as_deref());
        }
    }

    fn filed(&mut self) -> FileResult {
        match self.events.recv_timeout(PATIENCE).unwrap() {
            MediaEvent::FileClosed { recording: ID, file } => file,
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self) -> FileResult {
        self.tape().end(ID);
        self.filed()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.tape.take();
        self.writer.take();
        std::fs::remove_dir_all(&self.data).ok();
    }
}

fn side(audio: &Audio, side: usize) -> Vec<i16> {
    audio.samples.iter().skip(side).step_by(audio.channels).copied().collect()
}

/// How strong a frequency is, as an amplitude.
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

/// A WAV file whose header is true at any time, and that stays as it is when it is repaired.
fn try_wav(path: &Path) -> Option<Audio> {
    let before = std::fs::read(path).ok()?;
    let said = u64::from(u32::from_le_bytes(before.get(40..44)?.try_into().unwrap()));
    assert!(said + 44 <= before.len() as u64, "its header is true: {said}");
    let file = File::options().read(true).write(true).open(path).unwrap();
    assert_eq!(wav::repair(&file).unwrap(), (2, (before.len() as u64 - 44) / 4 * 4));
    Some(wav_of(path))
}

fn try_opus(path: &Path) -> Option<Audio> {
    ogg_opus::read(File::open(path).ok()?, usize::MAX / 8).ok()
}

#[test]
fn each_side_of_a_file_has_its_party_and_not_the_other() {
    // S177
    let mut desk = Desk::new("sides", 0);
    for (format, name) in [(FileFormat::Wav, "recordings/a.wav"), (FileFormat::Opus, "recordings/a.ogg")] {
        desk.begin("recordings/a", format, 2);
        desk.talk(0..50, 440.0, Some(1_000.0));
        let FileResult::Complete { bytes, millis: 5_000, .. } = desk.end() else { panic!() };
        assert_eq!(bytes, std::fs::metadata(desk.path(name)).unwrap().len());
        let audio =
            if format == FileFormat::Wav { wav_of(&desk.path(name)) } else { opus_of(&desk.path(name)) };
        assert_eq!((audio.channels, audio.samples.len()), (2, 80_000), "{name}");
        for (n, own, other) in [(0, 440.0, 1_000.0), (1, 1_000.0, 440.0)] {
            let heard = &side(&audio, n)[8_000..32_000];
            let (loud, faint) = (strength(heard, own), strength(heard, other));
            assert!(loud > 7_000.0 && faint < loud / 50.0, "{name}: {loud} {faint}");
        }
    }
}

#[test]
fn a_file_whose_writer_is_killed_plays_up_to_the_last_second() {
    for (format, name) in [(FileFormat::Wav, "cut.wav"), (FileFormat::Opus, "cut.ogg")] {
        let mut desk = Desk::new("cut", 0);
        desk.begin("cut", format, 2);
        desk.talk(0..95, 440.0, Some(1_000.0));
        // A copy is what a crash would leave. Nothing tells the writer that it ends: only the last half second may be missing.
        let copy = desk.path("copy");
        let until = std::time::Instant::now() + PATIENCE;
        let audio = loop {
            std::fs::copy(desk.path(name), &copy).ok();
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
fn blocks_that_were_lost_are_silence_at_their_place() {
    let mut desk = Desk::new("gap", 0);
    desk.begin("gap", FileFormat::Wav, 1);
    desk.talk(0..5, 440.0, None);
    desk.talk(10..15, 440.0, None);
    assert!(matches!(desk.end(), FileResult::Complete { millis: 1_500, .. }));
    let audio = wav_of(&desk.path("gap.wav"));
    assert_eq!((audio.channels, audio.samples.len()), (1, 12_000));
    assert!(audio.samples[4_000..8_000].iter().all(|s| *s == 0));
    assert!(strength(&audio.samples[8_000..], 440.0) > 7_000.0);
}

#[test]
fn a_full_disk_ends_the_recording_and_a_bad_name_writes_nowhere() {
    let mut desk = Desk::new("full", u64::MAX);
    desk.begin("recordings/a", FileFormat::Opus, 2);
    assert_eq!(desk.filed(), FileResult::DiskFull);
    desk.talk(0..5, 440.0, Some(440.0));
    desk.tape().end(ID);
    drop(desk);
    let mut desk = Desk::new("device", 0);
    std::os::unix::fs::symlink("/dev/full", desk.path("a.wav")).unwrap();
    desk.begin("a", FileFormat::Wav, 2);
    assert_eq!(desk.filed(), FileResult::DiskFull);
    for name in ["../a", "/tmp/a", "a/../../b", "", ".a", "a b"] {
        desk.begin(name, FileFormat::Wav, 1);
        assert_eq!(desk.filed(), FileResult::Failed, "{name:?}");
    }
    // The others go on.
    desk.begin("b", FileFormat::Wav, 1);
    desk.talk(0..5, 440.0, None);
    assert!(matches!(desk.end(), FileResult::Complete { millis: 500, .. }));
}

#[test]
fn a_stopping_server_closes_the_files_that_are_open() {
    let mut desk = Desk::new("stop", 0);
    desk.begin("a", FileFormat::Opus, 2);
    desk.talk(0..20, 440.0, Some(1_000.0));
    desk.writer.take();
    assert!(matches!(desk.filed(), FileResult::Complete { millis: 2_000, .. }));
    assert_eq!(opus_of(&desk.path("a.ogg")).samples.len(), 32_000);
}

#[tokio::test]
async fn a_sweep_moves_aside_what_nobody_knows_unless_it_is_young() {
    // S72
    let data = std::env::temp_dir().join(format!("centralita-sweep-{}", std::process::id()));
    let warehouse = AudioFileStore::new(&data, None);
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
    let swept = warehouse.sweep("voicemail", None, claim).await.unwrap();
    assert_eq!(swept, Swept { removed: 1, moved: 1, ..Swept::default() });
    let left = |path: &str| data.join(path).exists();
    assert!(left("voicemail/ext_1/vm_kept.ogg") && left("voicemail/ext_1/vm_young.ogg"));
    assert!(left("voicemail/stray.ogg") && left("recordings/rec_1.ogg"));
    assert!(!left("voicemail/ext_1/vm_gone.ogg") && !left("voicemail/ext_2/greeting-abc.ogg"));
    assert!(left("unclaimed/voicemail/ext_2/greeting-abc.ogg"));
    assert_eq!(warehouse.sweep("nothing", None, claim).await.unwrap(), Swept::default());
    std::fs::remove_dir_all(&data).ok();
}

#[tokio::test]
async fn a_file_is_kept_read_in_parts_put_in_anothers_place_and_removed() {
    let data = std::env::temp_dir().join(format!("centralita-shelf-{}", std::process::id()));
    let shelf = AudioFileStore::new(&data, None);
    let file = |name: &str| AudioFile::voicemail(format!("voicemail/ext_1/{name}"));
    let tone: Vec<i16> =
        (0..16_000).map(|n| (8_000.0 * (TAU * 440.0 * f64::from(n) / 8_000.0).sin()) as i16).collect();
    let mut bytes = wav::header(1, 32_000).to_vec();
    bytes.extend(tone.iter().flat_map(|sample| sample.to_le_bytes()));
    let whole = bytes::Bytes::from(bytes);
    shelf.keep_wav(file("draft").name, whole.clone()).await.unwrap();
    let refused = shelf.keep_wav(file("bad").name, b"RIFF nothing"[..].into()).await;
    assert!(matches!(refused, Err(AudioError::Unreadable(..))));
    assert_eq!(
        shelf.keep_wav("../draft".into(), whole.clone()).await,
        Err(AudioError::Disk),
        "never outside"
    );
    shelf.rename(&file("draft").name, &file("greeting").name).await.unwrap();
    assert!(strength(&shelf.samples(&file("greeting").name).await.unwrap(), 440.0) > 7_000.0);

    let stored = shelf.open(file("greeting"), AudioFormatRequest::Stored).await.unwrap();
    let ogg = std::fs::read(data.join("voicemail/ext_1/greeting.ogg")).unwrap();
    assert_eq!((stored.length, stored.content_type), (ogg.len() as u64, "audio/ogg"));
    assert_eq!((stored.read)(100..164).await.unwrap(), ogg[100..164]);
    let wav = shelf.open(file("greeting"), AudioFormatRequest::Wav).await.unwrap();
    assert_eq!((wav.length, wav.content_type), (32_044, "audio/wav"));
    assert_eq!((wav.read)(0..44).await.unwrap(), wav::header(1, 32_000)[..]);

    for _ in 0..2 {
        shelf.remove(file("greeting")).await.unwrap();
    }
    let gone = shelf.open(file("greeting"), AudioFormatRequest::Stored).await.err().map(|error| error.kind());
    assert_eq!(gone, Some(std::io::ErrorKind::NotFound));
    std::fs::remove_dir_all(&data).ok();
}
