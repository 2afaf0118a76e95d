use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::*;
use crate::base::fetch::ImageStore;
use crate::base::fetch::partial::Partial;
use crate::base::fetch::store::Note;
use crate::report::event::{Event, Sink};

/// Tells when somebody begins to wait.
struct Waits(Sender<()>);

impl Sink for Waits {
    fn send(&self, event: Event<'_>) {
        if matches!(event, Event::Noticed { .. }) {
            self.0.send(()).expect("somebody who listens");
        }
    }
}

/// What another process holds that has all of `content`, but has not finished.
fn under_way(
    bench: &Bench,
    store: &ImageStore,
    wanted: &Wanted,
    content: &Content,
) -> (Partial, Note) {
    let (url, name) = (&wanted.url, &wanted.name);
    let opened = Partial::open(store, url, name, &Silent, &bench.interrupt);
    let partial = opened.expect("a folder").expect("an unfinished download");
    let mut bytes = vec![0; usize::try_from(content.len()).expect("a length")];
    content.read(&mut bytes, 0);
    partial.file.write_all_at(&bytes, 0).expect("a file");
    let note = Note::new(name, url, Sha256Digest::of(&bytes), &partial.file);
    (partial, note.expect("a note"))
}

fn store(bench: &Bench) -> ImageStore {
    ImageStore::open(&bench.cache).expect("a store")
}

/// Fetches what another process has under way, which it finishes while we wait.
fn fetched_when_another_has_finished(
    bench: &Bench,
    wanted: &Wanted,
) -> Result<Fetched, FetchError> {
    let store = store(bench);
    let (partial, note) = under_way(bench, &store, wanted, &noise(MIB));
    let (waits, waiting) = channel();
    thread::scope(|scope| {
        let fetching = scope.spawn(move || {
            let sink = Waits(waits);
            fetch(&bench.client, &bench.cache, wanted, &sink, &bench.interrupt)
        });
        waiting.recv().expect("somebody who waits");
        let finished = partial.publish(&store, note, &bench.interrupt);
        let outcome = fetching.join().expect("a thread");
        finished.expect("an image");
        outcome
    })
}

#[test]
fn what_another_has_finished_is_held_to_the_promise() {
    let (server, mut wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    wanted.promise.published = Some(Sha256Digest([1; 32]));
    let outcome = fetched_when_another_has_finished(&bench, &wanted);
    assert!(
        matches!(outcome, Err(FetchError::Mismatch { .. })),
        "{outcome:?}"
    );
    assert_eq!(server.asks().len(), 1);
}

#[test]
fn what_another_has_finished_is_taken_where_it_is_as_promised() {
    let (server, mut wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    wanted.promise.either = wanted.promise.published.take();
    let outcome = fetched_when_another_has_finished(&bench, &wanted);
    assert!(matches!(outcome, Ok(Fetched::Here(_))), "{outcome:?}");
    assert!(server.asks().is_empty());
}

#[test]
fn what_came_meanwhile_from_another_address_stays_unless_it_has_rotted() {
    let (server, wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    let store = store(&bench);
    let elsewhere = |path| Wanted {
        url: server.url(path),
        ..wanted.clone()
    };
    let (late, late_note) = under_way(&bench, &store, &elsewhere("/b.img"), &noise(MIB));
    let (later, later_note) = under_way(&bench, &store, &elsewhere("/c.img"), &noise(MIB));
    let first = bench.arrives(&wanted);
    let inode = || fs::metadata(first.dir()).expect("a folder").ino();
    let before = inode();
    let second = late.publish(&store, late_note, &bench.interrupt);
    let second = second.expect("an image");
    assert_eq!(second.note.url, wanted.url);
    assert_eq!(inode(), before);
    fs::write(first.path(), "rotten").expect("a file");
    let third = later.publish(&store, later_note, &bench.interrupt);
    assert_eq!(third.expect("an image").note.url, server.url("/c.img"));
    assert_eq!(bench.store(), [first.note.sha256.to_string()]);
    assert_eq!(
        Sha256Digest::of(&fs::read(first.path()).expect("a file")),
        first.note.sha256
    );
}

#[test]
fn what_rotted_is_removed_only_as_long_as_nothing_has_taken_its_place() {
    let (_server, wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    let rotten = bench.arrives(&wanted);
    rotten.remove().expect("a folder");
    let anew = bench.arrives(&wanted);
    rotten.remove().expect("a folder");
    assert!(anew.path().exists());
}

#[test]
fn a_link_in_place_of_a_download_is_not_followed() {
    let (server, wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    let dir = store(&bench).partial(&wanted.url);
    let folder = bench.dir.path().join("folder");
    let file = folder.join("file");
    fs::create_dir(&folder).expect("a folder");
    fs::write(&file, "precious").expect("a file");
    let assert_refused = |link: &std::path::Path| {
        let error = bench.fails(&wanted);
        let FetchError::Cache { source, .. } = &error else {
            panic!("{error:?}");
        };
        let told = format!("{} is a link", link.display());
        assert!(source.to_string().contains(&told), "{source}");
        assert_eq!(fs::read(&file).expect("a file"), b"precious");
    };
    fs::create_dir(&dir).expect("a folder");
    symlink(&file, dir.join(&wanted.name)).expect("a link");
    assert_refused(&dir.join(&wanted.name));
    fs::remove_dir_all(&dir).expect("a folder");
    symlink(&folder, &dir).expect("a link");
    assert_refused(&dir);
    assert!(server.asks().is_empty());
}

#[test]
fn what_root_finds_stays_whose_it_is_and_what_root_makes_is_the_users() {
    const USER: u32 = 12_345;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_server, wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    let store = store(&bench);
    let dir = store.partial(&wanted.url);
    fs::create_dir(&dir).expect("a folder");
    std::os::unix::fs::chown(&dir, Some(USER), Some(USER)).expect("root's rights");
    let owner = || {
        let opened = Partial::open(&store, &wanted.url, &wanted.name, &Silent, &bench.interrupt);
        drop(opened.expect("a folder").expect("a download"));
        fs::metadata(dir.join(&wanted.name)).expect("a file").uid()
    };
    assert_eq!(owner(), USER);
    fs::remove_file(dir.join(&wanted.name)).expect("a file");
    fs::write(dir.join(&wanted.name), "root's").expect("a file");
    assert_eq!(owner(), 0);
}

#[test]
fn what_others_note_while_an_image_is_read_stays() {
    let (_server, wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    let mut read = bench.arrives(&wanted);
    let store = store(&bench);
    let sha256 = read.note.sha256;
    let again = || store.get(&sha256).expect("an image");
    let (mut other, mut doubter) = (again(), again());
    let noted = other.change(|note| note.asked.push("x".to_owned()));
    noted.expect("a note");
    let is_intact = read.is_intact_throughout(&bench.interrupt);
    assert!(is_intact.expect("a file"));
    doubter
        .change(|note| note.unvouched = false)
        .expect("a note");
    assert_eq!(again().note.asked, ["x"]);
    assert_eq!(read.note.asked, ["x"]);
    assert!(!again().note.unvouched);
}
