//! One download, over as many connections as it takes.

use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::{Duration, Instant};

use sha2::Digest as _;
use ureq::Body;
use ureq::http::{Response, StatusCode, header};

use super::answer::{content_range, is_passing, retry_after, tells_its_end};
use super::arrival::Arrival;
use super::client::{Client, Request, Trouble, final_url, header_text, io_trouble};
use super::partial::{Head, Partial};
use super::room::{self, RESERVE, SPARE};
use super::{FetchError, Wanted};
use crate::base::Sha256Digest;
use crate::interrupt::Interrupt;
use crate::report::event::{Event, Sink};

/// Bytes taken from the network at once.
const PIECE_LEN: usize = 256 << 10;
/// Where nobody says how long it is, what goes on after this is no image.
const MAX_LEN: u64 = 64 << 30;

/// Whether two say the same, where both say something.
fn agree<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// A download under way.
pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) wanted: &'a Wanted,
    pub(super) partial: &'a mut Partial,
    pub(super) arrival: &'a Arrival,
    pub(super) sink: &'a dyn Sink,
    pub(super) interrupt: &'a Interrupt,
}

/// How it ended.
pub(super) enum Outcome {
    /// All of it is there; the digest is of what is there.
    Complete(Sha256Digest),
    /// It is still what the caller has.
    Unchanged,
}

/// What came of one attempt.
enum Attempt {
    Complete,
    Unchanged,
    /// It broke off; why, and how long the server wants to be left alone.
    Broken(String, Option<Duration>),
}

/// What is hashed and announced while it arrives.
struct Progress {
    hasher: sha2::Sha256,
    announced: bool,
    /// How often it began anew.
    restarts: u32,
    /// What there was when an answer last ended that did not tell its end.
    ended_at: Option<Sha256Digest>,
}

impl Download<'_> {
    /// Downloads until all is there.
    pub(super) fn run(mut self) -> Result<Outcome, FetchError> {
        let mut progress = Progress {
            hasher: sha2::Sha256::new(),
            announced: false,
            restarts: 0,
            ended_at: None,
        };
        self.take_up(&mut progress)?;
        let result = self.attempt_until_done(&mut progress);
        if progress.announced {
            self.sink.send(Event::Ended {
                task: &self.wanted.name,
            });
        }
        // What the network says once it was shut down means nothing.
        self.interrupt.check()?;
        match result? {
            Attempt::Unchanged => Ok(Outcome::Unchanged),
            _ => Ok(Outcome::Complete(Sha256Digest(
                progress.hasher.finalize().into(),
            ))),
        }
    }

    fn attempt_until_done(&mut self, progress: &mut Progress) -> Result<Attempt, FetchError> {
        let patience = self.client.patience;
        let (mut failures, mut pause) = (0, patience.pause);
        loop {
            if self.partial.len > 0 && self.partial.head.len == Some(self.partial.len) {
                return Ok(Attempt::Complete);
            }
            let before = self.partial.len;
            let (what, wait) = match self.attempt(progress)? {
                Attempt::Broken(what, wait) => (what, wait),
                done => return Ok(done),
            };
            failures += 1;
            let came_further = self.partial.len > before;
            if came_further {
                (failures, pause) = (0, patience.pause);
            }
            // A server that contradicts itself would be asked for ever.
            let attempts = failures.max(progress.restarts);
            if attempts >= patience.attempts {
                return Err(FetchError::Unreachable {
                    url: self.wanted.url.clone(),
                    attempts,
                    what,
                    kept: self.partial.len > 0,
                });
            }
            if came_further && wait.is_none() {
                continue;
            }
            let wait = wait.unwrap_or(pause).min(patience.longest_pause);
            if failures > 1 || wait >= Duration::from_secs(2) {
                let message = format!(
                    "{}: {what}. Trying again in {:.0} s.",
                    self.wanted.name,
                    wait.as_secs_f64().ceil()
                );
                self.sink.send(Event::Noticed { message: &message });
            }
            self.sleep(wait)?;
            pause *= 2;
        }
    }

    /// Hashes what earlier runs left.
    fn take_up(&mut self, progress: &mut Progress) -> Result<(), FetchError> {
        let mut piece = vec![0; PIECE_LEN];
        let mut offset = 0;
        while offset < self.partial.len {
            self.interrupt.check()?;
            let n = self
                .partial
                .file
                .read_at(&mut piece, offset)
                .map_err(|error| self.cache_failed(error))?;
            if n == 0 {
                break;
            }
            progress.hasher.update(&piece[..n]);
            offset += n as u64;
        }
        self.partial.len = offset;
        self.arrival.expect(self.partial.head.len);
        self.arrival.reached(&self.partial.file, offset);
        Ok(())
    }

    fn start_over(&mut self, progress: &mut Progress) -> Result<(), FetchError> {
        if self.partial.len > 0 {
            self.arrival.lose();
            progress.restarts += 1;
        }
        progress.hasher.reset();
        self.partial
            .clear()
            .map_err(|error| self.cache_failed(error))
    }

    fn attempt(&mut self, progress: &mut Progress) -> Result<Attempt, FetchError> {
        let from = self.partial.len;
        let validator = self.partial.head.validator().map(str::to_owned);
        if from > 0 && validator.is_none() && self.wanted.promise.is_none() {
            // Nothing could tell whether the rest belongs to it.
            self.start_over(progress)?;
            return self.attempt(progress);
        }
        let request = Request {
            url: &self.wanted.url,
            from,
            if_range: validator.as_deref(),
            if_none_match: self.wanted.known_etag.as_deref().filter(|_| from == 0),
            ..Request::default()
        };
        let response = match self.client.ask(request, self.interrupt) {
            Ok(response) => response,
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Passing(what)) => return Ok(Attempt::Broken(what, None)),
        };
        match response.status() {
            StatusCode::OK => {
                if from > 0 {
                    self.start_over(progress)?;
                }
                self.receive(response, progress)
            }
            StatusCode::PARTIAL_CONTENT if self.goes_on(&response) => {
                self.receive(response, progress)
            }
            StatusCode::NOT_MODIFIED if request.if_none_match.is_some() => Ok(Attempt::Unchanged),
            // Not the part that was asked for, or of another file.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => {
                self.start_over(progress)?;
                Ok(Attempt::Broken("the file has changed".to_owned(), None))
            }
            status => self.refused(status, &response),
        }
    }

    fn refused(
        &self,
        status: StatusCode,
        response: &Response<Body>,
    ) -> Result<Attempt, FetchError> {
        if is_passing(status) {
            let wait = retry_after(response);
            return Ok(Attempt::Broken(
                format!("the server answers {status}"),
                wait,
            ));
        }
        Err(FetchError::Refused {
            url: self.wanted.url.clone(),
            status: status.as_u16(),
        })
    }

    /// Whether an answer is the rest of what is there.
    fn goes_on(&self, response: &Response<Body>) -> bool {
        let Some((from, total)) = content_range(response) else {
            return false;
        };
        let known = &self.partial.head;
        let found =
            [header::ETAG, header::LAST_MODIFIED].map(|name| header_text(response.headers(), name));
        let [etag, last_modified] = &found;
        // Not every server heeds If-Range; where no digest tells, it must say itself
        // that this is the rest of the same.
        let is_vouched_for = self.partial.len == 0
            || !self.wanted.promise.is_none()
            || found
                .iter()
                .flatten()
                .any(|own| Some(&**own) == known.validator());
        from == self.partial.len
            && is_vouched_for
            && agree(&total, &known.len)
            && agree(etag, &known.etag)
            && agree(last_modified, &known.last_modified)
            && self.whole_len(response).is_some()
    }

    /// Bytes that the whole file has, as far as an answer, an earlier one, or who wants
    /// it tells. A part may be smaller than was asked for (RFC 9110, 15.3.7), so that its
    /// own length says nothing.
    fn whole_len(&self, response: &Response<Body>) -> Option<u64> {
        let told = match response.status() {
            StatusCode::PARTIAL_CONTENT => content_range(response).and_then(|(_, total)| total),
            _ => response.body().content_length(),
        };
        told.or(self.partial.head.len).or(self.wanted.len)
    }

    /// Takes the bytes of an answer, from where the file ends.
    fn receive(
        &mut self,
        response: Response<Body>,
        progress: &mut Progress,
    ) -> Result<Attempt, FetchError> {
        let total = self.whole_len(&response);
        let len = header_text(response.headers(), header::CONTENT_LENGTH);
        if total == Some(0) || (self.partial.len == 0 && len.as_deref() == Some("0")) {
            return Err(FetchError::Empty(self.wanted.url.clone()));
        }
        let is_open_ended = total.is_none() && !tells_its_end(&response);
        if is_open_ended && self.wanted.promise.is_none() {
            return Err(FetchError::NoLength(self.wanted.url.clone()));
        }
        self.check_len(total)?;
        let needed = total.map(|total| total.saturating_sub(self.partial.len));
        self.check_room(needed, needed.unwrap_or(0).saturating_add(RESERVE))?;
        self.arrival.expect(total);
        if self.partial.len == 0 {
            let head = Head::new(
                header_text(response.headers(), header::ETAG),
                header_text(response.headers(), header::LAST_MODIFIED),
                total,
            );
            self.partial
                .set_head(head)
                .map_err(|error| self.cache_failed(error))?;
        }
        self.announce(total, progress);
        let url = final_url(&response);
        let mut body = response.into_body().into_reader();
        let mut piece = vec![0; PIECE_LEN];
        loop {
            self.interrupt.check()?;
            let n = match body.read(&mut piece) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return match io_trouble(url, &error) {
                        Trouble::Final(error) => Err(error),
                        Trouble::Passing(what) => Ok(Attempt::Broken(what, None)),
                    };
                }
            };
            if n == 0 {
                // Where nobody tells how much there is, there is a byte at least.
                let is_cut = self.partial.len < total.unwrap_or(1)
                    || (is_open_ended && self.may_be_cut(progress));
                return Ok(match is_cut {
                    true => Attempt::Broken("the connection was cut".to_owned(), None),
                    false => Attempt::Complete,
                });
            }
            self.take(&piece[..n], progress)?;
        }
    }

    /// Whether an answer that did not tell its end may have been cut: it is not what was
    /// promised. One that ends like that twice is something else.
    fn may_be_cut(&self, progress: &mut Progress) -> bool {
        let found = Sha256Digest(progress.hasher.clone().finalize().into());
        !self.wanted.promise.names(found) && progress.ended_at.replace(found) != Some(found)
    }

    fn take(&mut self, bytes: &[u8], progress: &mut Progress) -> Result<(), FetchError> {
        if self.partial.len + bytes.len() as u64 > self.wanted.len.unwrap_or(MAX_LEN) {
            return Err(FetchError::TooLong {
                url: self.wanted.url.clone(),
                limit: self.wanted.len.unwrap_or(MAX_LEN),
            });
        }
        self.partial
            .file
            .write_all_at(bytes, self.partial.len)
            .map_err(|error| self.cache_failed(error))?;
        let (before, now) = (self.partial.len, self.partial.len + bytes.len() as u64);
        if before / room::STEP != now / room::STEP {
            let whole = self.partial.head.len;
            self.check_room(whole.map(|whole| whole.saturating_sub(now)), SPARE)?;
        }
        progress.hasher.update(bytes);
        self.partial.len += bytes.len() as u64;
        self.arrival.reached(&self.partial.file, self.partial.len);
        self.sink.send(Event::Progressed {
            task: &self.wanted.name,
            done: self.partial.len,
        });
        Ok(())
    }

    fn announce(&self, total: Option<u64>, progress: &mut Progress) {
        if !progress.announced {
            progress.announced = true;
            self.sink.send(Event::Started {
                task: &self.wanted.name,
                verb: "downloading",
                total: total.unwrap_or(0),
            });
            self.sink.send(Event::Resumed {
                task: &self.wanted.name,
                done: self.partial.len,
            });
        }
    }

    fn check_len(&self, total: Option<u64>) -> Result<(), FetchError> {
        let url = || self.wanted.url.clone();
        match (total, self.wanted.len) {
            (Some(found), Some(wanted)) if found != wanted => Err(FetchError::WrongLength {
                url: url(),
                wanted,
                found,
            }),
            (Some(found), None) if found > MAX_LEN => Err(FetchError::TooLong {
                url: url(),
                limit: MAX_LEN,
            }),
            _ => Ok(()),
        }
    }

    /// Makes sure that `least` bytes are free; `needed` are still to come, if that is known.
    fn check_room(&self, needed: Option<u64>, least: u64) -> Result<(), FetchError> {
        let dir = self.partial.dir();
        match room::free(dir) {
            Some(free) if free < least => Err(FetchError::NoSpace {
                name: self.wanted.name.clone(),
                dir: dir.parent().unwrap_or(dir).to_owned(),
                needed,
                free,
            }),
            _ => Ok(()),
        }
    }

    fn cache_failed(&self, source: io::Error) -> FetchError {
        let dir = self.partial.dir();
        FetchError::Cache {
            dir: dir.parent().unwrap_or(dir).to_owned(),
            source,
        }
    }

    fn sleep(&self, wait: Duration) -> Result<(), FetchError> {
        const STEP: Duration = Duration::from_millis(50);
        let end = Instant::now() + wait;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.interrupt.check()?;
            thread::sleep(left.min(STEP));
        }
        Ok(())
    }
}
