//! A download that is read while it arrives.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What has arrived so far, for somebody who reads along.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    state: Mutex<State>,
    changed: Condvar,
    followed: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    len: u64,
    /// Bytes that the whole has, where that is known.
    whole: Option<u64>,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All of it came, and its digest is what was promised.
    Good,
    /// It began anew, or failed: what was read counts for nothing.
    Lost,
}

impl Arrival {
    /// The whole has so many bytes, if that is known.
    pub(super) fn expect(&self, whole: Option<u64>) {
        self.lock().whole = whole;
    }

    /// `len` bytes of `file` are there.
    pub(super) fn reached(&self, file: &Arc<File>, len: u64) {
        let mut state = self.lock();
        if state.file.is_none() {
            state.file = Some(Arc::clone(file));
        }
        state.len = len;
        drop(state);
        self.changed.notify_all();
    }

    /// The file is complete, and it is what it should be.
    pub(super) fn complete(&self) {
        self.end(End::Good);
    }

    /// What was read so far is void.
    pub(super) fn lose(&self) {
        self.end(End::Lost);
    }

    fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Sees to it that what arrives gets to the disk while more arrives: a single
    /// sync at the end would take as long as all of it takes to write.
    pub(super) fn write_back(&self) {
        const STEP: u64 = 32 << 20;
        let mut synced = 0;
        let mut state = self.lock();
        while state.end.is_none() {
            match &state.file {
                Some(file) if state.len >= synced + STEP => {
                    let (file, len) = (Arc::clone(file), state.len);
                    drop(state);
                    // What fails here fails again, and is told, at the end.
                    drop(file.sync_data());
                    synced = len;
                    state = self.lock();
                }
                _ => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Bytes that have arrived.
    pub(super) fn len(&self) -> u64 {
        self.lock().len
    }

    /// Bytes that are still to come; where nobody tells, as many as have arrived.
    pub(super) fn to_come(&self) -> u64 {
        let state = self.lock();
        match state.whole {
            _ if state.end == Some(End::Good) => 0,
            Some(whole) => whole.saturating_sub(state.len),
            None => state.len,
        }
    }

    /// Bytes that were read along.
    pub(super) fn followed(&self) -> u64 {
        self.followed.load(Ordering::Relaxed)
    }

    /// Reads along from the start.
    pub(super) fn follow(&self) -> Follower<'_> {
        Follower {
            arrival: self,
            offset: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a file as it arrives. Its end is seen only once the digest is checked:
/// who reads up to there has read what was promised.
#[derive(Debug)]
pub(super) struct Follower<'a> {
    arrival: &'a Arrival,
    offset: u64,
}

impl Read for Follower<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.arrival.lock();
        let (file, len) = loop {
            match (state.end, &state.file) {
                (Some(End::Lost), _) => return Err(io::Error::other("the download is void")),
                (_, Some(file)) if state.len > self.offset => break (Arc::clone(file), state.len),
                (Some(End::Good), _) => return Ok(0),
                (None, _) => {}
            }
            state = self
                .arrival
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let left = usize::try_from(len - self.offset).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        let n = file.read_at(&mut buf[..wanted], self.offset)?;
        if n == 0 && wanted > 0 {
            return Err(io::Error::other("the download is void"));
        }
        self.offset += n as u64;
        self.arrival.followed.store(self.offset, Ordering::Relaxed);
        Ok(n)
    }
}
