//! Small documents: lists, digests, signatures.

use std::io::{self, Read as _};
use std::thread;
use std::time::Duration;

use ureq::http::{StatusCode, header};

use super::FetchError;
use super::client::{Client, Request, Trouble, final_url, header_text, io_trouble, parse};
use super::download::retry_after;
use crate::interrupt::Interrupt;

/// Attempts in a row; nobody waits long for a list.
const ATTEMPTS: u32 = 3;

/// A small document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What tells this version from others.
    pub etag: Option<String>,
    /// Where it came from in the end.
    pub final_url: String,
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
enum Attempt {
    Answered(Small),
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
        parse(url)?;
        let result = self.until_interrupted(interrupt, || {
            let mut attempts = 0;
            loop {
                let (what, wait) = match self.get_once(url, limit, known_etag)? {
                    Attempt::Answered(small) => return Ok(small),
                    Attempt::Broken(what, wait) => (what, wait),
                };
                attempts += 1;
                if attempts >= ATTEMPTS.min(self.patience.attempts) {
                    return Err(FetchError::Unreachable {
                        url: url.to_owned(),
                        attempts,
                        what,
                    });
                }
                interrupt.check()?;
                let wait = wait.unwrap_or(self.patience.pause * attempts);
                thread::sleep(wait.min(self.patience.pause * ATTEMPTS));
            }
        });
        // What the network says once it was shut down means nothing.
        interrupt.check()?;
        result
    }

    fn get_once(
        &self,
        url: &str,
        limit: u64,
        known_etag: Option<&str>,
    ) -> Result<Attempt, FetchError> {
        let request = Request {
            url,
            if_none_match: known_etag,
            ..Request::default()
        };
        let response = match self.ask(request) {
            Ok(response) => response,
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Passing(what)) => return Ok(Attempt::Broken(what, None)),
        };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if known_etag.is_some() => {
                return Ok(Attempt::Answered(Small::Unchanged));
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                let wait = retry_after(&response);
                return Ok(Attempt::Broken(
                    format!("the server answers {status}"),
                    wait,
                ));
            }
            status => {
                return Err(FetchError::Refused {
                    url: url.to_owned(),
                    status: status.as_u16(),
                });
            }
        }
        let etag = header_text(response.headers(), header::ETAG);
        let final_url = final_url(&response);
        let promised = response.body().content_length();
        let mut bytes = Vec::new();
        let body = response.into_body().into_reader();
        if let Err(error) = body.take(limit + 1).read_to_end(&mut bytes) {
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
        Ok(Attempt::Answered(Small::Fresh(Document {
            bytes,
            etag,
            final_url,
        })))
    }
}

fn broken(url: &str, error: &io::Error) -> Result<Attempt, FetchError> {
    match io_trouble(url.to_owned(), error) {
        Trouble::Final(error) => Err(error),
        Trouble::Passing(what) => Ok(Attempt::Broken(what, None)),
    }
}
