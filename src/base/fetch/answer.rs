//! What a server's answer means, whatever was asked for.

use std::time::Duration;

use ureq::Body;
use ureq::http::{Response, StatusCode, header};

use super::client::header_text;

/// Whether an answer may be another one the next time.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
}

/// How long a server wants to be left alone, where it says so in seconds (RFC 9110,
/// 10.2.3); a date is taken for no answer.
pub(super) fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let text = header_text(response.headers(), header::RETRY_AFTER)?;
    text.parse().ok().map(Duration::from_secs)
}

/// First byte and total of `bytes 100-999/1000` (RFC 9110, 14.4).
pub(super) fn content_range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let text = header_text(response.headers(), header::CONTENT_RANGE)?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _last) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first.parse().ok()?, total))
}
