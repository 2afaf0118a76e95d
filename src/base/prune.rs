//! What the cache holds, and which of it can go.

use std::fs::{self, DirEntry, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::cache::Cache;
use super::fetch::{FetchError, ImageStore, PARTIAL};

/// Bytes in a block as `stat` counts them (stat(2), `st_blocks`).
const STAT_BLOCK_LEN: u64 = 512;

/// What something in the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An image that was downloaded.
    Image,
    /// A download that broke off; it would go on from there.
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
            items.extend(item(kind, &entry).ok().flatten());
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

fn item(kind: Kind, entry: &DirEntry) -> io::Result<Option<Item>> {
    let path = entry.path();
    let metadata = entry.metadata()?;
    let file_name = entry.file_name().to_string_lossy().into_owned();
    let name = match kind {
        Kind::Partial if !file_name.starts_with(PARTIAL) => return Ok(None),
        Kind::Partial => largest_in(&path)?.unwrap_or(file_name),
        _ => file_name,
    };
    Ok(Some(Item {
        kind,
        name,
        len: len_of(&path)?,
        last_used: last_touched(&metadata),
        path,
    }))
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

/// Removes something from the cache, unless another process uses it: then `false`.
///
/// # Errors
/// What the operating system says.
pub fn remove(item: &Item) -> io::Result<bool> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    };
    if matches!(item.kind, Kind::Unpacked | Kind::Compressed) {
        // Whoever has it open goes on reading it.
        return fs::remove_file(&item.path).or_else(gone).map(|()| true);
    }
    let Ok(folder) = File::open(&item.path) else {
        return Ok(true);
    };
    if folder.try_lock().is_err() {
        return Ok(false);
    }
    fs::remove_dir_all(&item.path).or_else(gone)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn an_image_in_use_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("image");
        fs::create_dir(&path).expect("a directory");
        let item = Item {
            kind: Kind::Image,
            name: String::new(),
            path: path.clone(),
            len: 0,
            last_used: SystemTime::now(),
        };
        let user = File::open(&path).expect("a directory");
        user.lock_shared().expect("a lock");
        assert!(!remove(&item).expect("no error"));
        drop(user);
        assert!(remove(&item).expect("no error"));
        assert!(!path.exists());
        assert!(remove(&item).expect("being gone is no error"));
    }
}
