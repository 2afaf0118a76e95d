//! `image`, `sha256` and `require_signature`: what to build on.

use std::path::PathBuf;
use std::sync::Arc;

use super::check::Complaint;
use super::files::Files;
use super::read::Section;
use super::shared::judge;
use crate::base::Sha256Digest;
use crate::base::catalogue::{ARM64, ARMHF, BadName, Catalogue, ImageName, KnownImage};
use crate::base::fetch::password_in;
use crate::base::images::Source;
use crate::cluster::node::{Image, ImageSource, PRACTICE};
use crate::layout::Board;

/// `image` and `sha256`; a digest alone is for `inherited`.
pub(super) fn read_image(
    section: &mut Section<'_, '_>,
    files: &Files,
    inherited: Option<&Arc<Image>>,
    require_signature: bool,
) -> Option<Arc<Image>> {
    let image = section.string("image");
    let sha256 = section.string("sha256").and_then(|text| {
        let digest = text.value.parse::<Sha256Digest>();
        judge(
            section,
            &text,
            digest.map_err(|error| (error.to_string(), String::new())),
        )
    });
    let source = match image {
        Some(image) => judge(section, &image, image_source(&image.value, files))?,
        None if sha256.is_some() => inherited?.source.clone(),
        None => return None,
    };
    Some(Arc::new(Image {
        source,
        sha256,
        require_signature,
    }))
}

fn image_source(text: &str, files: &Files) -> Result<ImageSource, Complaint> {
    if let Some((scheme, rest)) = text.split_once("://") {
        return match (scheme, password_in(text)) {
            // Not repeated: it may be a password.
            ("http" | "https", Some(what)) => Err((
                format!("an address that cannot be taken: {what}"),
                "download the image by hand and give its path".to_owned(),
            )),
            ("http" | "https", None) => Ok(ImageSource::Download(Source::of_url(text))),
            ("file", _) => Ok(ImageSource::Path(local_path(rest)?)),
            _ => Err((
                format!("`{scheme}://` is no address of an image"),
                "use https".to_owned(),
            )),
        };
    }
    if text.is_empty() || text.contains('\0') {
        return Err((
            "an empty image".to_owned(),
            "give a name such as raspios-lite-arm64, or the path of an image".to_owned(),
        ));
    }
    if text == PRACTICE {
        return Ok(ImageSource::Practice);
    }
    let path = files.resolve(text);
    if text.contains(['/', '.']) || path.is_file() {
        return Ok(ImageSource::Path(path));
    }
    match text.parse::<ImageName>() {
        Ok(name) => Ok(ImageSource::Download(Source::Name(name))),
        Err(error) => Err(complaint(&error)),
    }
}

/// The path in a `file://` address (RFC 8089, 2).
fn local_path(rest: &str) -> Result<PathBuf, Complaint> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if path.starts_with('/') && !path.contains('%') {
        return Ok(PathBuf::from(path));
    }
    Err((
        format!("`file://{rest}` is no address of a file here"),
        "write the path itself".to_owned(),
    ))
}

fn complaint(error: &BadName) -> Complaint {
    let help = match (error, error.suggestion()) {
        (_, Some(suggestion)) => suggestion,
        (BadName::Unknown { .. }, None) => {
            let names: Vec<&str> = Catalogue::builtin()
                .images()
                .map(KnownImage::name)
                .collect();
            format!(
                "there is no such file either; known names: {}, {PRACTICE}",
                names.join(", ")
            )
        }
        (BadName::Date(_), None) => String::new(),
    };
    let message = match error {
        BadName::Unknown { name, .. } => format!("unknown image `{name}`"),
        other => other.to_string(),
    };
    (message, help)
}

/// What is built on where the manifest leaves that open, and why: all nodes on one
/// image that boots every board of theirs.
pub(super) fn choose_image(
    boards: impl Iterator<Item = (u32, Board)>,
    require_signature: bool,
) -> (Arc<Image>, String) {
    let mut oldest = boards.filter(|(_, board)| !board.is_armv8());
    let (name, why) = match oldest.next() {
        Some((number, board)) => (
            ARMHF,
            format!(
                "which boots every board: node {number} is a {}",
                board.model()
            ),
        ),
        None => (ARM64, "for the Pi 3 and later".to_owned()),
    };
    let name = ImageName {
        name: name.to_owned(),
        date: None,
    };
    let notice = format!(
        "cluster.toml names no image; {name} is taken, {why}. `image = \"{name}\"` says the same."
    );
    let image = Image {
        source: ImageSource::Download(Source::Name(name)),
        sha256: None,
        require_signature,
    };
    (Arc::new(image), notice)
}
