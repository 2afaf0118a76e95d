//! Sound files that are out of the ordinary, and things that are no image at
//! all: neither may be mistaken for damage, hang, or be remembered wrongly.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::{Bench, zip};
use crate::base::read_at::RawFile;
use crate::base::testing::{pipe, sample};
use crate::base::xz::XzBase;
use crate::base::{Base, BaseError, ReadAt, prune};
use crate::interrupt::Interrupt;
use crate::report::event::{Event, Silent, Sink};

fn read(bench: &Bench, path: &Path) -> Result<Vec<u8>, BaseError> {
    bench.read(&bench.open(path)?)
}

/// Runs `work` elsewhere; fails rather than waits forever.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(limit).expect("an end in time")
}

#[test]
fn a_pipe_or_a_character_device_is_refused_at_once() {
    let bench = Bench::new();
    let pipe = bench.dir.path().join("pipe.img");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    for path in [pipe, PathBuf::from("/dev/zero")] {
        let cache = bench.cache();
        let error = within(Duration::from_secs(20), move || {
            Base::open(&path, &cache, &Silent, &Interrupt::default())
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("neither"), "{error}");
    }
}

#[test]
fn a_zip_of_very_many_files_is_refused_before_it_fills_the_memory() {
    let bench = Bench::new();
    let path = bench.dir.path().join("many.zip");
    let file = File::create(&path).unwrap();
    let script = "import sys, zipfile\n\
                  with zipfile.ZipFile(sys.stdout.buffer, 'w') as zip:\n\
                  \x20for n in range(20_000): zip.writestr(f'{n}.img', b'')\n";
    let mut python = Command::new("python3");
    let made = python.args(["-c", script]).stdout(file).status();
    assert!(made.unwrap().success());
    let error = bench.open(&path).unwrap_err().to_string();
    assert!(error.contains("one of thousands"), "{error}");
}

#[test]
fn a_large_dictionary_is_not_damage() {
    let bytes = sample(300_000, 1);
    let args = ["-0", "--lzma2=preset=0,dict=128MiB", "--block-size=100000"];
    let bench = Bench::new();
    let path = bench.put("base.txt", &pipe("xz", &args, &bytes));
    assert!(read(&bench, &path).unwrap() == bytes);
}

#[test]
fn a_dictionary_beyond_the_limit_is_said_to_be_one() {
    let args = ["-0", "--lzma2=preset=0,dict=512MiB", "--block-size=100000"];
    let bench = Bench::new();
    let path = bench.put("base.txt", &pipe("xz", &args, &sample(1000, 1)));
    let error = bench.open(&path).unwrap_err();
    assert!(matches!(error, BaseError::Unsuitable { .. }), "{error}");
}

#[test]
fn a_download_with_its_space_reserved_is_found_incomplete_at_once() {
    let bench = Bench::new();
    let packed = pipe("xz", &["-0", "--block-size=10000"], &sample(100_000, 1));
    let path = bench.put("base.txt", &packed[..packed.len() / 2]);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    assert!(matches!(bench.open(&path), Err(BaseError::Damaged { .. })));
    // Of a download's usual length, four bytes at a time, it takes a minute.
    let counted = Arc::new(Counted {
        file: RawFile::new(File::open(&path).unwrap()).unwrap(),
        reads: AtomicUsize::new(0),
    });
    let source: Arc<dyn ReadAt> = Arc::<Counted>::clone(&counted);
    XzBase::open(source).unwrap_err();
    let reads = counted.reads.load(Ordering::Relaxed);
    assert!(reads < 2000, "{reads} reads");
}

/// A file that counts how often it is read.
#[derive(Debug)]
struct Counted {
    file: RawFile,
    reads: AtomicUsize,
}

impl ReadAt for Counted {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.file.read_exact_at(buf, offset)
    }
}

#[test]
fn padding_may_be_of_any_length() {
    let bytes = sample(30_000, 1);
    let packed = pipe("xz", &["-0", "--block-size=10000"], &bytes);
    for padding in [4, 65_532, 65_536, 65_540, 200_000] {
        let bench = Bench::new();
        let path = bench.put("base.txt", &[&packed[..], &vec![0; padding]].concat());
        assert!(read(&bench, &path).unwrap() == bytes, "{padding}");
    }
}

#[test]
fn a_zip_with_another_method_is_not_damaged() {
    let bench = Bench::new();
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.img"), sample(50_000, 1)).unwrap();
    let zip = Command::new("zip")
        .args(["-q", "-Z", "bzip2", "x.zip", "a.img"])
        .current_dir(dir.path())
        .status();
    assert!(zip.unwrap().success());
    let error = bench.open(&dir.path().join("x.zip")).unwrap_err();
    assert!(matches!(error, BaseError::Unsuitable { .. }), "{error}");
}

#[test]
fn a_path_in_a_zip_leads_nowhere() {
    use zip::write::{SimpleFileOptions, ZipWriter};
    let bench = Bench::new();
    let bytes = sample(50_000, 1);
    for name in [
        "../../evil.img",
        "/tmp/cardmint-evil.img",
        "a/../../evil.img",
    ] {
        let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(&bytes).unwrap();
        let packed = zip.finish().unwrap().into_inner();
        let path = bench.put("base.zip", &packed);
        assert!(read(&bench, &path).unwrap() == bytes, "{name}");
    }
    assert!(!Path::new("/tmp/cardmint-evil.img").exists());
    let outside = bench.dir.path().parent().unwrap().join("evil.img");
    assert!(!outside.exists());
    let strays = fs::read_dir(bench.dir.path()).unwrap().flatten();
    let strays: Vec<_> = strays
        .filter(|entry| entry.file_name() == "evil.img")
        .collect();
    assert!(strays.is_empty());
}

#[test]
fn what_macos_adds_to_a_zip_is_no_second_image() {
    let bytes = sample(50_000, 1);
    let bench = Bench::new();
    let path = bench.put(
        "base.txt",
        &zip(&[("a.img", &bytes), ("._a.img", b"x")], &[]),
    );
    assert!(read(&bench, &path).unwrap() == bytes);
}

#[test]
fn what_a_killed_process_left_is_cleared_away() {
    let bench = Bench::new();
    let spool = bench.dir.path().join("cache/spool");
    let path = bench.put("base.txt", &pipe("gzip", &["-1"], &sample(10_000, 1)));
    bench.open(&path).unwrap();
    fs::write(spool.join(".unfinishedabc123"), b"half").unwrap();
    bench.put("base.txt", &pipe("gzip", &["-1"], &sample(20_000, 1)));
    bench.open(&path).unwrap();
    let left: Vec<_> = fs::read_dir(&spool)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| !name.to_string_lossy().ends_with(".img"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn waiting_for_another_process_can_be_interrupted() {
    let bench = Bench::new();
    let spool = bench.dir.path().join("cache/spool");
    fs::create_dir_all(&spool).unwrap();
    let held = File::open(&spool).unwrap();
    held.lock().unwrap();
    let path = bench.put("base.txt", &pipe("gzip", &["-1"], &sample(10_000, 1)));
    let cache = bench.cache();
    let interrupt = Interrupt::default();
    let flag = interrupt.flag();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        flag.store(true, Ordering::Relaxed);
    });
    let result = within(Duration::from_secs(20), move || {
        Base::open(&path, &cache, &Silent, &interrupt)
    });
    assert!(matches!(result, Err(BaseError::Interrupted(_))));
}

/// Does something to a file when a task begins, and counts tasks.
struct Meddler<'a> {
    begin: &'a (dyn Fn() + Sync),
    open: Mutex<i32>,
}

impl Sink for Meddler<'_> {
    fn send(&self, event: Event<'_>) {
        let change = match event {
            Event::Started { .. } => {
                (self.begin)();
                1
            }
            Event::Ended { .. } => -1,
            _ => 0,
        };
        *self.open.lock().unwrap() += change;
    }
}

#[test]
fn a_file_that_grows_while_it_is_unpacked_is_refused() {
    let bench = Bench::new();
    let zip = zip(&[("a.img", &sample(50_000, 1))], &[]);
    for packed in [pipe("gzip", &["-1"], &sample(50_000, 1)), zip] {
        let path = bench.put("base.txt", &packed);
        let begin = || {
            let mut file = File::options().append(true).open(&path).unwrap();
            file.write_all(&[0; 64]).unwrap();
        };
        let open = Mutex::new(0);
        let sink = Meddler {
            begin: &begin,
            open,
        };
        let result = Base::open(&path, &bench.cache(), &sink, &Interrupt::default());
        assert!(matches!(
            result,
            Err(BaseError::Changed(_) | BaseError::Damaged { .. })
        ));
    }
}

#[test]
fn whoever_makes_room_leaves_alone_what_is_being_unpacked() {
    let bench = Bench::new();
    let bytes = sample(50_000, 1);
    let path = bench.put("base.txt", &pipe("gzip", &["-1"], &bytes));
    let kept = Mutex::new(0);
    let begin = || {
        for item in prune::items(&bench.cache()).unwrap() {
            if !prune::remove(&item).unwrap() {
                *kept.lock().unwrap() += 1;
            }
        }
    };
    let open = Mutex::new(0);
    let sink = Meddler {
        begin: &begin,
        open,
    };
    let base = Base::open(&path, &bench.cache(), &sink, &Interrupt::default()).unwrap();
    assert_eq!(*kept.lock().unwrap(), 1);
    assert!(bench.read(&base).unwrap() == bytes);
    // Whoever reads it goes on. A child of another test holds the lock as well, until it
    // is a program of its own.
    let is_gone = || {
        begin();
        thread::sleep(Duration::from_millis(10));
        bench.spool().is_empty()
    };
    assert!((0..500).any(|_| is_gone()));
    assert!(bench.read(&base).unwrap() == bytes);
}

#[test]
fn a_task_that_fails_ends_too() {
    let bench = Bench::new();
    let packed = pipe("gzip", &["-1"], &sample(50_000, 1));
    let path = bench.put("base.txt", &packed[..packed.len() - 100]);
    let sink = Meddler {
        begin: &|| (),
        open: Mutex::new(0),
    };
    let error = Base::open(&path, &bench.cache(), &sink, &Interrupt::default()).unwrap_err();
    assert_eq!(*sink.open.lock().unwrap(), 0);
    // The place helps to tell a short download from a bad disk.
    let place = format!("byte {}", packed.len() - 100);
    assert!(error.to_string().contains(&place), "{error}");
}

#[test]
fn readers_on_many_threads_get_the_same_bytes() {
    let bytes = sample(400_000, 1);
    let bench = Bench::new();
    let packed = pipe("xz", &["-0", "--block-size=50000"], &bytes);
    let base = bench.open(&bench.put("base.txt", &packed)).unwrap();
    thread::scope(|scope| {
        for reader in 0..8 {
            let (base, bytes) = (&base, &bytes);
            scope.spawn(move || {
                for step in 0..40 {
                    let start = (reader * 7919 + step * 9973) % (bytes.len() - 1000);
                    let mut buf = [0; 1000];
                    base.read_exact_at(&mut buf, start as u64).unwrap();
                    assert!(buf[..] == bytes[start..start + 1000]);
                }
            });
        }
    });
}
