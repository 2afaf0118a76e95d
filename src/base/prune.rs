//! What the cache holds, and which of it can go.

use std::fs::{self, DirEntry, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::cache::{Cache, is_still};
use super::fetch::{FetchError, ImageStore, PARTIAL};
use crate::whole;

/// Bytes in a block as `stat` counts them (stat(2), `st_blocks`).
const STAT_BLOCK_LEN: u64 = 512;

/// What something in the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An image that was downloaded.
    Image,
    /// A download that broke off, which would go on from there; or one whose note was lost.
    Partial,
    /// A base, unpacked; it is unpacked again when needed.
    Unpacked,
    /// A base or a part of one, compressed anew; it is made again when needed.
    Compressed,
}

/// Something in the cache that can be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// What people call it.
    pub name: String,
    /// The file or folder.
    pub path: PathBuf,
    /// Bytes that removing it frees.
    pub len: u64,
    /// When it was last used, by its times.
    pub last_used: SystemTime,
}

/// What may stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Only what was used within this time.
    pub unused_for: Option<Duration>,
    /// Only so many bytes, the last used first.
    pub total_len: Option<u64>,
}

/// Everything in the cache that can be removed, last used first.
///
/// # Errors
/// Where the cache cannot be read.
pub fn items(cache: &Cache) -> Result<Vec<Item>, FetchError> {
    let store = ImageStore::open(cache)?;
    let mut items = images(&store)?;
    let failed = |dir: &Path| {
        let dir = dir.to_owned();
        move |source| FetchError::Cache { dir, source }
    };
    for (kind, dir) in [
        (Kind::Partial, Ok(store.dir().to_owned())),
        (Kind::Unpacked, cache.spool_dir()),
        (Kind::Compressed, cache.blocks_dir()),
    ] {
        let dir = dir.map_err(failed(cache.dir()))?;
        for entry in fs::read_dir(&dir).map_err(failed(&dir))? {
            let entry = entry.map_err(failed(&dir))?;
            // What another cardmint removes at the same time is gone already.
            items.extend(item(kind, &entry, &store).ok().flatten());
        }
    }
    items.sort_by_key(|item| std::cmp::Reverse(item.last_used));
    Ok(items)
}

fn images(store: &ImageStore) -> Result<Vec<Item>, FetchError> {
    let all = store.all()?;
    Ok(all
        .iter()
        .map(|stored| Item {
            kind: Kind::Image,
            name: stored.note.name.clone(),
            path: stored.dir().to_owned(),
            len: len_of(stored.dir()).unwrap_or(stored.note.len),
            last_used: stored.last_used(),
        })
        .collect())
}

fn item(kind: Kind, entry: &DirEntry, store: &ImageStore) -> io::Result<Option<Item>> {
    let path = entry.path();
    let metadata = entry.metadata()?;
    let file_name = entry.file_name().to_string_lossy().into_owned();
    let name = match kind {
        Kind::Partial if !is_of_no_image(&file_name, store) => return Ok(None),
        Kind::Partial => largest_in(&path)?.unwrap_or(file_name),
        _ => file_name,
    };
    Ok(Some(Item {
        kind,
        name,
        len: len_of(&path)?,
        last_used: match kind {
            Kind::Partial => last_written(&path, &metadata)?,
            _ => last_touched(&metadata),
        },
        path,
    }))
}

/// Whether a folder in the store is that of a download that broke off, or of an image
/// whose note is gone or cannot be read: that is one that nobody finds, and takes room.
fn is_of_no_image(file_name: &str, store: &ImageStore) -> bool {
    match file_name.parse() {
        Ok(digest) => store.get(&digest).is_none(),
        Err(_) => file_name.starts_with(PARTIAL),
    }
}

/// A folder's largest file is what it is about.
fn largest_in(dir: &Path) -> io::Result<Option<String>> {
    let mut largest = None;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        largest = largest.max(Some((entry.metadata()?.len(), name)));
    }
    Ok(largest.map(|(_, name)| name))
}

/// Bytes on disk of a file, or of a folder's files.
fn len_of(path: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    let mut len = metadata.blocks() * STAT_BLOCK_LEN;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            len += entry?.metadata()?.blocks() * STAT_BLOCK_LEN;
        }
    }
    Ok(len)
}

/// When something was last written or read; reading is noted once a day at most.
fn last_touched(metadata: &Metadata) -> SystemTime {
    let times = [metadata.modified(), metadata.accessed()];
    let latest = times.into_iter().filter_map(Result::ok).max();
    latest.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When something in a folder was last written. Reading tells nothing: whoever looks what
/// is in there reads it.
fn last_written(dir: &Path, metadata: &Metadata) -> io::Result<SystemTime> {
    let mut latest = metadata.modified()?;
    for entry in fs::read_dir(dir)? {
        latest = latest.max(entry?.metadata()?.modified()?);
    }
    Ok(latest)
}

/// Those of `items`, last used first, that go beyond `limits`.
#[must_use]
pub fn choose(items: Vec<Item>, now: SystemTime, limits: &Limits) -> Vec<Item> {
    let mut kept = 0_u64;
    let goes = |item: &Item| {
        let age = now.duration_since(item.last_used).unwrap_or_default();
        let is_old = limits.unused_for.is_some_and(|limit| age >= limit);
        let is_too_much = limits
            .total_len
            .is_some_and(|limit| kept.saturating_add(item.len) > limit);
        if !is_old && !is_too_much {
            kept += item.len;
        }
        is_old || is_too_much
    };
    items.into_iter().filter(goes).collect()
}

/// Removes something from the cache, unless another process uses it or is making it:
/// then `false`.
///
/// # Errors
/// What the operating system says.
pub fn remove(item: &Item) -> io::Result<bool> {
    let place = match item.kind {
        // Whoever unpacks holds the folder, until what came of it is open.
        Kind::Unpacked => whole::folder_of(&item.path),
        // Whoever compresses holds the file. Who only reads one holds nothing, has it
        // open, and goes on.
        Kind::Compressed | Kind::Image | Kind::Partial => &item.path,
    };
    match File::open(place) {
        Ok(open) => remove_if_free(item, place, &open),
        // What is not there or cannot be opened, nobody holds.
        Err(_) => take_away(item),
    }
}

/// The same, where whoever uses the item holds `open`, which was at `place`.
fn remove_if_free(item: &Item, place: &Path, open: &File) -> io::Result<bool> {
    // Held until the name is gone: others see by that that they came too late.
    if open.try_lock().is_err() {
        return Ok(false);
    }
    if !is_still(open, place) {
        // Gone; or another has come in its place, and is in use.
        return Ok(!place.exists());
    }
    take_away(item)
}

fn take_away(item: &Item) -> io::Result<bool> {
    let removed = match item.kind {
        Kind::Unpacked | Kind::Compressed => fs::remove_file(&item.path),
        Kind::Image | Kind::Partial => fs::remove_dir_all(&item.path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whole::{Existing, Unfinished};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn items(ages_and_lens: &[(u32, u64)]) -> (Vec<Item>, SystemTime) {
        let now = SystemTime::UNIX_EPOCH + 1000 * DAY;
        let items = ages_and_lens.iter().map(|(age, len)| Item {
            kind: Kind::Image,
            name: format!("{age} days old"),
            path: PathBuf::new(),
            len: *len,
            last_used: now - *age * DAY,
        });
        (items.collect(), now)
    }

    fn chosen(ages_and_lens: &[(u32, u64)], limits: Limits) -> Vec<String> {
        let (items, now) = items(ages_and_lens);
        let chosen = choose(items, now, &limits);
        chosen.into_iter().map(|item| item.name).collect()
    }

    #[test]
    fn what_was_not_used_for_long_goes() {
        let limits = Limits {
            unused_for: Some(30 * DAY),
            total_len: None,
        };
        let goes = chosen(&[(0, 1), (29, 1), (30, 1), (90, 1)], limits);
        assert_eq!(goes, ["30 days old", "90 days old"]);
    }

    #[test]
    fn what_is_beyond_the_size_goes_oldest_first() {
        let limits = Limits {
            unused_for: None,
            total_len: Some(100),
        };
        // A small old one may stay where a large one goes.
        let goes = chosen(&[(1, 60), (2, 50), (3, 40), (4, 1)], limits);
        assert_eq!(goes, ["2 days old", "4 days old"]);
    }

    #[test]
    fn without_limits_everything_stays() {
        assert!(chosen(&[(1, 60), (900, 50)], Limits::default()).is_empty());
    }

    #[test]
    fn looking_at_a_download_that_broke_off_is_no_use_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::at(dir.path().to_owned());
        let store = ImageStore::open(&cache).expect("a store");
        let partial = store.dir().join(format!("{PARTIAL}0"));
        fs::create_dir(&partial).expect("a directory");
        let half = File::create(partial.join("half.img")).expect("a file");
        let folder = File::open(&partial).expect("a directory");
        let now = SystemTime::now();
        let last_used = || super::items(&cache).expect("items")[0].last_used;
        let set = |file: &File, written, read| {
            let times = fs::FileTimes::new().set_modified(written);
            file.set_times(times.set_accessed(read)).expect("times");
        };
        set(&half, now - 100 * DAY, now);
        set(&folder, now - 100 * DAY, now);
        assert_eq!(last_used(), now - 100 * DAY);
        set(&half, now - 50 * DAY, now);
        assert_eq!(last_used(), now - 50 * DAY);
    }

    fn at(kind: Kind, path: &Path) -> Item {
        Item {
            kind,
            name: String::new(),
            path: path.to_owned(),
            len: 0,
            last_used: SystemTime::now(),
        }
    }

    #[test]
    fn an_image_in_use_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("image");
        fs::create_dir(&path).expect("a directory");
        let item = at(Kind::Image, &path);
        let user = File::open(&path).expect("a directory");
        user.lock_shared().expect("a lock");
        assert!(!remove(&item).expect("no error"));
        drop(user);
        assert!(remove(&item).expect("no error"));
        assert!(!path.exists());
        assert!(remove(&item).expect("being gone is no error"));
    }

    #[test]
    fn an_image_that_took_the_place_of_another_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("image");
        fs::create_dir(&path).expect("a directory");
        let item = at(Kind::Image, &path);
        let old = File::open(&path).expect("a directory");
        fs::rename(&path, dir.path().join("old")).expect("a directory");
        assert!(remove_if_free(&item, &path, &old).expect("being gone is no error"));
        fs::create_dir(&path).expect("a directory");
        assert!(!remove_if_free(&item, &path, &old).expect("no error"));
        assert!(path.exists());
    }

    #[test]
    fn what_is_being_compressed_is_left_alone_and_what_is_only_read_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("base.img.xz");
        let making = Unfinished::create(&path, 0o600).expect("a file");
        let unfinished = making.temporary_path().to_owned();
        assert!(!remove(&at(Kind::Compressed, &unfinished)).expect("no error"));
        making.publish(Existing::Replace).expect("a file");
        let _reader = File::open(&path).expect("a file");
        assert!(remove(&at(Kind::Compressed, &unfinished)).expect("being gone is no error"));
        assert!(remove(&at(Kind::Compressed, &path)).expect("no error"));
        assert!(!path.exists());
        // Left by a crash, it is locked by nobody.
        fs::write(&unfinished, "half").expect("a file");
        assert!(remove(&at(Kind::Compressed, &unfinished)).expect("no error"));
        assert!(!unfinished.exists());
    }

    #[test]
    fn while_a_base_is_unpacked_none_that_was_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("base.img");
        fs::write(&path, "unpacked").expect("a file");
        let item = at(Kind::Unpacked, &path);
        let unpacking = File::open(dir.path()).expect("a directory");
        unpacking.lock().expect("a lock");
        assert!(!remove(&item).expect("no error"));
        drop(unpacking);
        let _reader = File::open(&path).expect("a file");
        assert!(remove(&item).expect("no error"));
        assert!(!path.exists());
    }
}
