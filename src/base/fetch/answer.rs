//! What a server's answer means, whatever was asked for.

use std::time::Duration;

use ureq::Body;
use ureq::http::{Response, StatusCode, Version, header};

use super::client::header_text;

/// Whether an answer may be another one the next time. What a server cannot do at all
/// (RFC 9110, 15.6.2 and 15.6.6), it will not do then either.
pub(super) fn is_passing(status: StatusCode) -> bool {
    let cannot = [
        StatusCode::NOT_IMPLEMENTED,
        StatusCode::HTTP_VERSION_NOT_SUPPORTED,
    ];
    (status.is_server_error() && !cannot.contains(&status))
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
}

/// Whether an answer tells where it ends. Where it does not, its end is that of the
/// connection, and the client does not say whether that was closed or cut.
pub(super) fn tells_its_end(response: &Response<Body>) -> bool {
    let codings = response.headers().get_all(header::TRANSFER_ENCODING);
    let is_chunked = codings
        .iter()
        .filter_map(|codings| codings.to_str().ok())
        .flat_map(|codings| codings.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("chunked"));
    // HTTP/1.0 knows no chunks (RFC 9112, 6.1).
    (is_chunked && response.version() != Version::HTTP_10)
        || response.body().content_length().is_some()
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
