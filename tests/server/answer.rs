//! How a path is answered: well, or in one of many bad ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::content::{Content, noise};

/// An answer to every request for a path.
pub struct Answer {
    pub(crate) content: Content,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) etag: Option<String>,
    pub(crate) claimed_len: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) open_ended: bool,
    pub(crate) ignores_ranges: bool,
    pub(crate) ignores_if_range: bool,
    pub(crate) range_shift: u64,
    pub(crate) range_most: u64,
    pub(crate) stall_after: Option<u64>,
    pub(crate) pause: Duration,
    pub(crate) next: Option<Arc<Answer>>,
    cut: Option<Cut>,
    fail_first: (u32, u16),
    asked: AtomicU32,
}

enum Cut {
    After(u64),
    Randomly { seed: u64, most: u64 },
}

impl Answer {
    pub fn content(content: Content) -> Self {
        Self {
            content,
            status: 200,
            headers: Vec::new(),
            etag: Some("\"1\"".to_owned()),
            claimed_len: None,
            chunked: false,
            open_ended: false,
            ignores_ranges: false,
            ignores_if_range: false,
            range_shift: 0,
            range_most: u64::MAX,
            stall_after: None,
            pause: Duration::ZERO,
            next: None,
            cut: None,
            fail_first: (0, 0),
            asked: AtomicU32::new(0),
        }
    }

    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::content(Content::Bytes(bytes.into()))
    }

    pub fn status(status: u16) -> Self {
        let mut answer = Self::bytes("no");
        answer.status = status;
        answer
    }

    pub fn redirect(url: &str) -> Self {
        Self::status(302).header("Location", url)
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn etag(mut self, etag: Option<&str>) -> Self {
        self.etag = etag.map(str::to_owned);
        self
    }

    /// Hangs up after so many bytes of each body.
    pub fn cut_after(mut self, bytes: u64) -> Self {
        self.cut = Some(Cut::After(bytes));
        self
    }

    /// Hangs up after fewer bytes than `most`, other ones each time.
    pub fn cut_randomly(mut self, seed: u64, most: u64) -> Self {
        self.cut = Some(Cut::Randomly { seed, most });
        self
    }

    /// Falls silent after so many bytes of the first body.
    pub fn stall_after(mut self, bytes: u64) -> Self {
        self.stall_after = Some(bytes);
        self
    }

    /// Claims another length than the content has.
    pub fn claim_len(mut self, len: u64) -> Self {
        self.claimed_len = Some(len);
        self
    }

    /// Tells no length.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Tells neither a length nor an end: it ends with the connection.
    pub fn open_ended(mut self) -> Self {
        self.open_ended = true;
        self
    }

    /// Always sends all.
    pub fn ignore_ranges(mut self) -> Self {
        self.ignores_ranges = true;
        self
    }

    /// Sends another part than was asked for.
    pub fn shift_ranges(mut self, shift: u64) -> Self {
        self.range_shift = shift;
        self
    }

    /// Sends the part that was asked for, whatever it should be a part of.
    pub fn ignore_if_range(mut self) -> Self {
        self.ignores_if_range = true;
        self
    }

    /// Sends no part that has more bytes than this.
    pub fn shorten_ranges(mut self, most: u64) -> Self {
        self.range_most = most;
        self
    }

    /// Answers so many requests with a status first.
    pub fn fail_first(mut self, count: u32, status: u16) -> Self {
        self.fail_first = (count, status);
        self
    }

    /// Waits after each piece of 64 KiB.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Is this other one from the second request on.
    pub fn becomes(mut self, next: Self) -> Self {
        self.next = Some(Arc::new(next));
        self
    }

    /// Counts a request; its number, from 0.
    pub(crate) fn count(&self) -> u32 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn failure(&self, number: u32) -> Option<u16> {
        (number < self.fail_first.0).then_some(self.fail_first.1)
    }

    /// After how many bytes a request's body ends.
    pub(crate) fn cut(&self, number: u32) -> Option<u64> {
        match self.cut {
            None => None,
            Some(Cut::After(bytes)) => Some(bytes),
            Some(Cut::Randomly { seed, most }) => Some(noise(seed ^ u64::from(number)) % most),
        }
    }
}
