//! The recorder against real files, pipes and file systems: what is written, and what happens when
//! it cannot be. Some need root, to mount a small tmpfs; without it they fail.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use super::super::file::OpenFile;
use super::super::reader::{Line, Reader};
use super::super::samples;
use super::*;

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

fn file(path: &Path) -> Target {
    Target::File {
        path: path.to_owned(),
        force: false,
    }
}

fn lines(path: &Path) -> Vec<Line> {
    Reader::open(path)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn destroy() -> Input {
    let last = |(input, _): &(Input, Annotation)| matches!(input, Input::Destroy(_));
    let (input, _) = samples::inputs().into_iter().find(last).unwrap();
    input
}

fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not come about");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A pipe as the target, with a short queue.
fn pipe(queue: usize) -> (Recorder, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    let target = OpenFile {
        file: File::from(OwnedFd::from(writer)),
        name: "standard output".to_owned(),
        created: false,
        on_disk: false,
    };
    let recorder = Recorder::start(Sink::new(target), &samples::header(), queue).unwrap();
    (recorder, reader)
}

#[test]
fn a_recording_is_read_back_whole() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out.ndjson");
    let mut recorder =
        Recorder::create(&file(&path), Rotation::default(), &samples::header()).unwrap();
    let inputs = samples::inputs();
    for (input, annotation) in &inputs {
        recorder.input(input, annotation);
    }
    let finding = samples::finding();
    recorder.finding(&finding, samples::START);
    let end = samples::START.plus(Duration::from_secs(8));
    let summary = recorder
        .finish(&[Arc::new(finding)], Ended::Duration, end)
        .unwrap();

    assert_eq!(summary.bytes, fs::metadata(&path).unwrap().len());
    assert_eq!(summary.counts.total(), inputs.len() as u64 + 2);
    assert_eq!(summary.losses, BTreeMap::from([(LossCause::Ring, 3)]));

    let mut read = lines(&path).into_iter();
    assert_eq!(read.next(), Some(Line::Header(samples::header().into())));
    for (input, _) in inputs {
        assert_eq!(read.next(), Some(Line::Input(input)));
    }
    let Some(Line::Finding(first)) = read.next() else {
        panic!("a finding comes next");
    };
    assert_eq!(
        (first.kind.as_str(), first.cause.as_deref(), first.count),
        ("close_wait_leak", Some("eof_unread"), 12)
    );
    assert!(matches!(read.next(), Some(Line::Finding(_))));
    let Some(Line::Footer(footer)) = read.next() else {
        panic!("the footer comes last");
    };
    assert_eq!(footer.at, end);
    assert_eq!(footer.ended, Ended::Duration);
    assert_eq!(footer.counts["transition"], 2);
    assert_eq!(footer.counts["finding"], 2);
    assert_eq!(footer.losses["ring"], 3);
    assert_eq!(footer.losses["writer"], 0);
    assert_eq!(read.next(), None);
}

#[test]
fn a_recomputed_finding_equals_the_recorded_one() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out.ndjson");
    let now = samples::START.plus(Duration::from_secs(9));
    let mut recorder =
        Recorder::create(&file(&path), Rotation::default(), &samples::header()).unwrap();
    let mut replay = Encoder::new(samples::header().clock_offset_ns);
    for (input, annotation) in samples::inputs() {
        recorder.input(&input, &annotation);
        replay.observe(&input);
    }
    recorder.finding(&samples::finding(), now);
    recorder.finish(&[], Ended::Signal, now).unwrap();

    let recorded = lines(&path).into_iter().find_map(|line| match line {
        Line::Finding(finding) => Some(*finding),
        _ => None,
    });
    assert_eq!(recorded, Some(replay.recorded(&samples::finding(), now)));
}

#[test]
fn lines_reach_the_file_within_a_second() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out.ndjson");
    let mut recorder =
        Recorder::create(&file(&path), Rotation::default(), &samples::header()).unwrap();
    let count = || lines(&path).len();
    eventually("the header", || {
        (fs::metadata(&path).ok()?.len() > 0).then_some(())
    });
    recorder.input(&destroy(), &Annotation::default());
    recorder.flush_if_due(samples::START.plus(Duration::from_millis(100)));
    assert_eq!(count(), 1);
    recorder.flush_if_due(samples::START.plus(Duration::from_secs(1)));
    eventually("the line", || (count() == 2).then_some(()));
}

#[test]
fn a_full_queue_drops_whole_lines_and_counts_them() {
    let (mut recorder, mut reader) = pipe(2);
    let mut total = 0;
    let mut lost = 0;
    // Nobody reads: the pipe takes 64 KiB, the queue two batches.
    while lost == 0 {
        recorder.input(&destroy(), &Annotation::default());
        total += 1;
        if let Some(loss) = recorder.lost() {
            assert_eq!(loss.cause, LossCause::Writer);
            assert_eq!((loss.from, loss.to), (destroy().at(), destroy().at()));
            lost += loss.count;
        }
        assert!(total < 100_000, "the queue has no end");
    }
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    let summary = recorder.finish(&[], Ended::Signal, samples::START).unwrap();
    let text = reading.join().unwrap();
    let read: Vec<Line> = Reader::new("pipe".to_owned(), text.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    let written = read.len() as u64 - 2;
    assert_eq!(written + lost, total);
    assert_eq!(summary.counts.of(LineKind::Destroy), written);
    let Some(Line::Footer(footer)) = read.last() else {
        panic!("the footer comes last");
    };
    assert_eq!(footer.counts["destroy"], written);
}

#[test]
fn a_loss_that_nobody_asked_for_stands_in_the_footer() {
    let (mut recorder, mut reader) = pipe(1);
    while recorder.dropped.is_none() {
        recorder.input(&destroy(), &Annotation::default());
    }
    let reading = thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    let expected = recorder.dropped.as_ref().unwrap().count;
    let summary = recorder.finish(&[], Ended::Signal, samples::START).unwrap();
    assert_eq!(summary.losses[&LossCause::Writer], expected);
    reading.join().unwrap().unwrap();
}

#[test]
fn a_closed_pipe_is_told_as_such() {
    let (mut recorder, reader) = pipe(4);
    drop(reader);
    recorder.input(&destroy(), &Annotation::default());
    recorder.flush_if_due(samples::START.plus(Duration::from_secs(1)));
    // A child that another test starts holds a copy of the reader until it calls exec.
    let failure = eventually("the failure", || {
        recorder.input(&destroy(), &Annotation::default());
        recorder.hand_over();
        recorder.failure()
    });
    assert!(matches!(failure, RecordError::BrokenPipe), "{failure}");
    let outcome = recorder.finish(&[], Ended::Signal, samples::START);
    assert!(matches!(outcome, Err(RecordError::BrokenPipe)));
}

#[test]
fn a_full_device_is_an_error_that_names_it() {
    let target = file(Path::new("/dev/full"));
    let recorder = Recorder::create(&target, Rotation::default(), &samples::header()).unwrap();
    let failure = eventually("the failure", || recorder.failure());
    assert!(matches!(failure, RecordError::Full { .. }), "{failure}");
    let error = recorder
        .finish(&[], Ended::Failure, samples::START)
        .unwrap_err()
        .to_string();
    assert!(error.contains("/dev/full"), "{error}");
    assert!(error.contains("No space left"), "{error}");
}

/// A small file system of its own, unmounted at the end of the test.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let options = format!("size={size}");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(status.success(), "cannot mount a tmpfs: run this as root");
        Self(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("out.ndjson")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a child that another test starts holds copies of our files until it calls exec.
        let status = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_disk_that_fills_up_leaves_whole_lines() {
    let disk = SmallDisk::mount("600k");
    let mut recorder =
        Recorder::create(&file(&disk.file()), Rotation::default(), &samples::header()).unwrap();
    // What a host does that does not heed the warning: three batches of 248 KiB do not fit.
    for _ in 0..5000 {
        recorder.input(&destroy(), &Annotation::default());
    }
    let error = recorder
        .finish(&[], Ended::Signal, samples::START)
        .unwrap_err();
    assert!(matches!(error, RecordError::Full { .. }), "{error}");
    assert!(error.to_string().contains("out.ndjson"), "{error}");

    let mut reader = Reader::open(&disk.file()).unwrap();
    let read = reader.by_ref().map(Result::unwrap).count();
    assert_eq!(reader.cut_off(), None);
    assert!(read > 1000, "{read}");
    assert!(fs::read(disk.file()).unwrap().ends_with(b"}\n"));
}

#[test]
fn a_disk_that_runs_low_ends_the_recording_in_good_order() {
    let disk = SmallDisk::mount("4m");
    let reserve = disk.0.path().join("others");
    fs::write(&reserve, vec![0; 3_500_000]).unwrap();
    let mut recorder =
        Recorder::create(&file(&disk.file()), Rotation::default(), &samples::header()).unwrap();
    let failure = eventually("the failure", || {
        for _ in 0..100 {
            recorder.input(&destroy(), &Annotation::default());
        }
        recorder.hand_over();
        recorder.failure()
    });
    assert!(matches!(failure, RecordError::LowSpace { .. }), "{failure}");
    assert!(failure.to_string().contains("out.ndjson"), "{failure}");
    recorder
        .finish(&[], Ended::DiskLow, samples::START)
        .unwrap();
    let last = lines(&disk.file()).pop();
    assert!(matches!(last, Some(Line::Footer(footer)) if footer.ended == Ended::DiskLow));

    // And nothing is begun there until there is space again.
    let next = disk.0.path().join("next.ndjson");
    let refused =
        Recorder::create(&file(&next), Rotation::default(), &samples::header()).unwrap_err();
    assert!(matches!(refused, RecordError::LowSpace { .. }), "{refused}");
    assert!(!next.exists());
}

#[test]
fn a_fast_growing_file_is_warned_about_once() {
    let (mut recorder, mut reader) = pipe(QUEUE);
    let reading = thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    let after = |seconds| samples::START.plus(Duration::from_secs(seconds));
    assert_eq!(recorder.warning(after(1)), None, "too early");
    assert_eq!(recorder.warning(after(10)), None, "nothing was written");
    recorder.bytes += 100_000_000;
    let warning = recorder.warning(after(15)).unwrap();
    assert!(warning.to_string().contains("20 MB/s"), "{warning}");
    recorder.bytes += 100_000_000;
    assert_eq!(recorder.warning(after(20)), None, "said already");
    recorder.finish(&[], Ended::Signal, samples::START).unwrap();
    reading.join().unwrap().unwrap();
}
