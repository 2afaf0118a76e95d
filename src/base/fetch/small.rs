//! Small documents: lists, digests, signatures.

use std::io::{self, Read as _};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::{Response, StatusCode, header};

use super::FetchError;
use super::address::parse;
use super::answer::{is_passing, retry_after, tells_its_end};
use super::client::{Client, Request, Trouble, final_url, header_text, io_trouble};

use crate::interrupt::Interrupt;

/// Attempts in a row; nobody waits long for a list.
const ATTEMPTS: u32 = 3;
/// All attempts together take no longer than so many silences that a server may keep:
/// it may send a byte before the end of each.
const SILENCES: u32 = 4;

/// A small document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What tells this version from others.
    pub etag: Option<String>,
}

/// What came of asking for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Small {
    /// It is the one that the caller has.
    Unchanged,
    /// It is this.
    Fresh(Document),
}

/// What came of asking once.
enum Attempt<T> {
    Answered(T),
    Broken(String, Option<Duration>),
}

impl Client {
    /// Gets a document of at most `limit` bytes, unless it is still the one with
    /// `known_etag`.
    ///
    /// # Errors
    /// Where it cannot be had or is longer.
    pub fn get_small(
        &self,
        url: &str,
        limit: u64,
        known_etag: Option<&str>,
        interrupt: &Interrupt,
    ) -> Result<Small, FetchError> {
        let request = Request {
            url,
            if_none_match: known_etag,
            ..Request::default()
        };
        self.persistently(request, interrupt, |response| match response.status() {
            StatusCode::NOT_MODIFIED if known_etag.is_some() => {
                Ok(Attempt::Answered(Small::Unchanged))
            }
            StatusCode::OK => read(url, limit, response),
            status => Err(refused(url, status)),
        })
    }

    /// Where an address leads in the end; asks for nothing but that.
    ///
    /// # Errors
    /// Where nobody answers, or the answer is no.
    pub fn final_url(&self, url: &str, interrupt: &Interrupt) -> Result<String, FetchError> {
        let request = Request {
            url,
            only_head: true,
            ..Request::default()
        };
        self.persistently(request, interrupt, |response| match response.status() {
            StatusCode::OK => Ok(Attempt::Answered(final_url(&response))),
            status => Err(refused(url, status)),
        })
    }

    /// Asks until there is an answer, though not for long.
    fn persistently<T>(
        &self,
        request: Request<'_>,
        interrupt: &Interrupt,
        take: impl Fn(Response<Body>) -> Result<Attempt<T>, FetchError>,
    ) -> Result<T, FetchError> {
        parse(request.url)?;
        let result = self.until_interrupted(interrupt, || {
            let mut attempts = 0;
            let end = Instant::now() + self.patience.silence * SILENCES;
            loop {
                let left = end.saturating_duration_since(Instant::now());
                let request = Request {
                    within: Some(left.max(self.patience.pause)),
                    ..request
                };
                let (what, wait) = match self.ask(request, interrupt) {
                    Err(Trouble::Final(error)) => return Err(error),
                    Err(Trouble::Passing(what)) => (what, None),
                    Ok(response) if is_passing(response.status()) => (
                        format!("the server answers {}", response.status()),
                        retry_after(&response),
                    ),
                    Ok(response) => match take(response)? {
                        Attempt::Answered(answer) => return Ok(answer),
                        Attempt::Broken(what, wait) => (what, wait),
                    },
                };
                attempts += 1;
                let is_last = attempts >= ATTEMPTS.min(self.patience.attempts);
                if is_last || Instant::now() >= end {
                    return Err(FetchError::Unreachable {
                        url: request.url.to_owned(),
                        attempts,
                        what,
                        kept: false,
                    });
                }
                interrupt.check()?;
                let longest = self.patience.pause * ATTEMPTS;
                thread::sleep(wait.unwrap_or(self.patience.pause * attempts).min(longest));
            }
        });
        // What the network says once it was shut down means nothing.
        interrupt.check()?;
        result
    }
}

fn read(url: &str, limit: u64, response: Response<Body>) -> Result<Attempt<Small>, FetchError> {
    if !tells_its_end(&response) {
        // A list that was cut is none; but a digest would count as not there.
        return Err(FetchError::NoLength(url.to_owned()));
    }
    let etag = header_text(response.headers(), header::ETAG);
    let promised = response.body().content_length();
    let mut bytes = Vec::new();
    let body = response.into_body().into_reader();
    if let Err(error) = body.take(limit.saturating_add(1)).read_to_end(&mut bytes) {
        return broken(url, &error);
    }
    if bytes.len() as u64 > limit {
        return Err(FetchError::TooLong {
            url: url.to_owned(),
            limit,
        });
    }
    if promised.is_some_and(|promised| promised != bytes.len() as u64) {
        return Ok(Attempt::Broken("the connection was cut".to_owned(), None));
    }
    let document = Document { bytes, etag };
    Ok(Attempt::Answered(Small::Fresh(document)))
}

fn broken<T>(url: &str, error: &io::Error) -> Result<Attempt<T>, FetchError> {
    match io_trouble(url.to_owned(), error) {
        Trouble::Final(error) => Err(error),
        Trouble::Passing(what) => Ok(Attempt::Broken(what, None)),
    }
}

fn refused(url: &str, status: StatusCode) -> FetchError {
    FetchError::Refused {
        url: url.to_owned(),
        status: status.as_u16(),
    }
}
