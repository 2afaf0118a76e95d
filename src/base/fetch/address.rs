//! Addresses: which can be asked, and which may be shown.

use ureq::http::Uri;

use super::FetchError;

/// An address that can be asked: http or https, with a host and no password, which
/// would end up in messages and in the cache.
pub(super) fn parse(url: &str) -> Result<Uri, FetchError> {
    let wrong = |what: &str| FetchError::NotAnAddress {
        url: without_password(url),
        what: what.to_owned(),
    };
    if let Some(what) = password_in(url) {
        return Err(wrong(what));
    }
    let uri: Uri = url.parse().map_err(|_| wrong("it cannot be read"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("it does not begin with https://"));
    }
    match uri.authority() {
        None => Err(wrong("it names no host")),
        Some(_) => Ok(uri),
    }
}

/// What stands in the way of showing an address: a password, or what may be one.
///
/// A password may itself hold what ends the host in an address (`/`, `?`, `#`), so that
/// no parser sees more than `user:` and a port that is none.
pub(crate) fn password_in(url: &str) -> Option<&'static str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some("passwords do not belong into addresses, which are shown and kept");
    }
    // The colons of `[fe80::1]` are not that of a port.
    let host = match authority.starts_with('[') {
        true => authority.find(']').unwrap_or_default(),
        false => 0,
    };
    let (_, port) = authority[host..].split_once(':')?;
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some("what stands behind its `:` is no port, and may be a password");
    }
    rest.contains('@').then_some(
        "what stands between its `:` and its `@` may be a password; write %40 for an `@` that \
         belongs to a path",
    )
}

/// The address as it may be shown.
pub(crate) fn without_password(url: &str) -> String {
    match (password_in(url), url.split_once("://")) {
        (Some(_), Some((scheme, rest))) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://…@{host}"),
            None => format!("{scheme}://…"),
        },
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_password_is_neither_asked_nor_shown() {
        for url in [
            "https://me:s3cret@h/a",
            "http://s3cret@h/a",
            "https://me:s3cret",
            "https://me:s3c/ret@h:1/a",
            "https://me:1?s3cret@h/a",
            "https://me:1/s3cret@h/a",
            "https://me:1#s3cret@h/a",
            "https://[me:s3c/ret@h/a",
            "https://[::1]:s3c/ret",
            "ftp://me:s3cret@h",
        ] {
            let error = parse(url).expect_err(url).to_string();
            assert!(!error.contains("s3c"), "{error}");
        }
    }

    #[test]
    fn other_addresses_are_shown_as_they_are() {
        for url in [
            "https://h/a@2.img",
            "https://h:8443/a%402.img?b=c:d",
            "https://[fe80::1]/a@2.img",
            "https://[::1]:8443/a",
            "https://h:/a",
        ] {
            assert_eq!(parse(url).expect(url), url);
            assert_eq!(without_password(url), url);
        }
    }
}
