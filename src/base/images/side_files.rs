//! What publishers put beside an image: its digest, its signature.

use super::ImageError;
use crate::base::Sha256Digest;
use crate::base::fetch::{Client, FetchError, Small, file_name};
use crate::interrupt::Interrupt;

/// A line for each of a few files.
const MAX_LEN: u64 = 64 << 10;

/// The address of the file beside an image that is called like it, but for what comes
/// last. What says who asks stays behind the name.
pub(super) fn beside(url: &str, extension: &str) -> String {
    let (path, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    format!("{path}{extension}{query}")
}

/// The digest in `URL.sha256`, where there is one.
pub(super) fn published_digest(
    client: &Client,
    url: &str,
    interrupt: &Interrupt,
) -> Result<Option<Sha256Digest>, ImageError> {
    let side = beside(url, ".sha256");
    match client.get_small(&side, MAX_LEN, None, interrupt) {
        Ok(Small::Fresh(document)) => Ok(parse(&document.bytes, &file_name(url))),
        Ok(Small::Unchanged) => Ok(None),
        Err(FetchError::Interrupted) => Err(FetchError::Interrupted.into()),
        Err(error) if error.is_missing() => Ok(None),
        // A server that has none may answer with a page of its own.
        Err(FetchError::TooLong { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The digest of `name` in what `sha256sum` writes, or the only one there is.
fn parse(bytes: &[u8], name: &str) -> Option<Sha256Digest> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut digests = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let digest = words.next()?.parse::<Sha256Digest>().ok()?;
        // A star marks binary mode; the name may have a path before it.
        let file = words.next().map(|file| file.trim_start_matches('*'));
        Some((digest, file.and_then(|file| file.rsplit('/').next())))
    });
    let first = digests.next()?;
    let rest: Vec<_> = digests.collect();
    if rest.is_empty() && first.1.is_none_or(|file| file == name) {
        return Some(first.0);
    }
    std::iter::once(first)
        .chain(rest)
        .find(|(_, file)| *file == Some(name))
        .map(|(digest, _)| digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "acff736ca7945e3b305f07cda4abdb870910e12634991da69783611756e381b3";
    const B: &str = "ea4e84c501d6dd4f4b1d04eb84df133a03f90a05ee2e8ab849185c17c2b0707b";

    fn found(text: &str) -> Option<String> {
        parse(text.as_bytes(), "a.img.xz").map(|digest| digest.to_string())
    }

    #[test]
    fn the_line_of_the_file_counts() {
        let (a, b) = (Some(A.to_owned()), Some(B.to_owned()));
        assert_eq!(found(&format!("{A}  a.img.xz\n")), a);
        assert_eq!(found(&format!("{A} *a.img.xz\r\n")), a);
        assert_eq!(found(A), a);
        assert_eq!(found(&format!("{A}  b.img.xz\n{B}  dir/a.img.xz\n")), b);
    }

    #[test]
    fn what_lies_beside_an_image_is_asked_for_as_the_image_is() {
        for (url, found) in [
            ("https://h/a.img", "https://h/a.img.sha256"),
            ("https://h/a.img?b=c/d", "https://h/a.img.sha256?b=c/d"),
        ] {
            assert_eq!(beside(url, ".sha256"), found);
        }
    }

    #[test]
    fn the_digest_of_another_file_does_not() {
        assert_eq!(found(&format!("{A}  b.img.xz\n")), None);
        assert_eq!(found(&format!("{A}  b.img.xz\n{B}  c.img.xz\n")), None);
        assert_eq!(found("<html>not found</html>"), None);
        assert_eq!(found(""), None);
        assert_eq!(parse(&[0xff, 0xfe], "a"), None);
    }
}
