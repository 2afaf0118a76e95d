//! The files that a manifest names: keys, secrets, files for the nodes.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use ssh_key::{Certificate, PublicKey};
use zeroize::Zeroizing;

use super::check::Complaint;

/// Files for the nodes have to fit on a boot partition.
const MAX_FILE_LEN: u64 = 64 << 20;
/// Keys and secrets are text.
const MAX_TEXT_LEN: u64 = 1 << 20;

/// Files are read from the manifest's directory; `~/` is the user's home.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    home: Option<PathBuf>,
}

impl Files {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            home: std::env::home_dir(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path that a manifest's text means.
    pub(super) fn resolve(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            // As short as it can be shown: `./key.pub`, not `././key.pub`.
            _ => self.dir.join(text).components().collect(),
        }
    }

    /// Contents of a file for the nodes.
    pub(super) fn read(&self, text: &str) -> Result<Vec<u8>, Complaint> {
        read_bounded(&self.resolve(text), MAX_FILE_LEN)
    }

    /// A secret from a file that only its owner can read; one line end at its
    /// end does not belong to it.
    pub(super) fn read_secret(&self, text: &str) -> Result<SecretString, Complaint> {
        let path = self.resolve(text);
        let shown = path.display();
        let metadata = fs::metadata(&path).map_err(|error| {
            // Not repeated: it may be the secret itself that stands there.
            let message = format!("the file that is named here cannot be read ({error})");
            let help =
                "name a file with the secret in it; the path starts at the manifest's directory";
            (message, help.to_owned())
        })?;
        if metadata.permissions().mode() & 0o077 != 0 {
            let message = format!("{shown} holds a secret and can be read by other users");
            return Err((message, format!("chmod 600 '{shown}'")));
        }
        let bytes = Zeroizing::new(read_bounded(&path, MAX_TEXT_LEN)?);
        let Ok(secret) = std::str::from_utf8(&bytes) else {
            return Err((format!("{shown} is not UTF-8 text"), String::new()));
        };
        let secret = secret.strip_suffix('\n').unwrap_or(secret);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        if secret.is_empty() {
            return Err((
                format!("{shown} is empty"),
                "write the secret into it".to_owned(),
            ));
        }
        if secret.contains(['\n', '\r', '\0']) {
            let message = format!("{shown} holds more than one line");
            return Err((
                message,
                "it must hold the secret and nothing else".to_owned(),
            ));
        }
        Ok(secret.into())
    }

    /// The lines for `authorized_keys` that an entry of the manifest means: a
    /// key itself, or the keys of a file.
    pub(super) fn authorized_keys(&self, entry: &str) -> Result<Vec<String>, Complaint> {
        if entry.contains("PRIVATE KEY") {
            return Err(private("this"));
        }
        if let Some(line) = parse_key(entry) {
            return Ok(vec![line]);
        }
        // A key has at least two words; what has one is meant as a path.
        let is_path = entry.starts_with(['/', '.', '~']) || !entry.trim().contains([' ', '\t']);
        let path = self.resolve(entry);
        if !is_path && !path.exists() {
            let message = format!(
                "`{}` is neither an SSH public key nor a file",
                shorten(entry)
            );
            return Err((
                message,
                "give the line of a .pub file, or its path".to_owned(),
            ));
        }
        let text = String::from_utf8_lossy(&read_bounded(&path, MAX_TEXT_LEN)?).into_owned();
        if text.contains("PRIVATE KEY") {
            return Err(private(&path.display().to_string()));
        }
        keys_of_file(&path, &text)
    }
}

/// The contents of an ordinary file of at most `max` bytes: a manifest may name
/// anything, `/dev/zero` among it.
fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, Complaint> {
    let failed = |error| unreadable(path, &error);
    let shown = path.display();
    // Opening a pipe would wait for somebody to write to it.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err((format!("{shown} is no ordinary file"), String::new()));
    }
    // Room for all of it: a buffer that grows leaves copies of a secret behind.
    let len = usize::try_from(metadata.len().min(max)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(len + 1);
    let file = File::open(path).map_err(failed)?;
    // Not by the length it is said to have: those of /proc have none.
    let mut start = file.take(max + 1);
    start.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        let message = format!("{shown} is longer than {max} bytes");
        return Err((message, String::new()));
    }
    Ok(bytes)
}

fn keys_of_file(path: &Path, text: &str) -> Result<Vec<String>, Complaint> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let key = |(index, line): (usize, &str)| {
        parse_key(line).ok_or_else(|| {
            let message = format!("{}:{} is no SSH public key", path.display(), index + 1);
            (
                message,
                "give the .pub file that ssh-keygen made".to_owned(),
            )
        })
    };
    let keys = lines.map(key).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        let message = format!("{} holds no SSH public key", path.display());
        return Err((
            message,
            "give the .pub file that ssh-keygen made".to_owned(),
        ));
    }
    Ok(keys)
}

/// A line of `authorized_keys` with its options and comment, if it is one.
fn parse_key(line: &str) -> Option<String> {
    let line = line.trim();
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return None;
    }
    // Options are sshd's to judge; that they end where a key begins is enough.
    let good = is_key(line) || is_key(without_options(line));
    good.then(|| line.to_owned())
}

/// Whether a key is what `text` begins with, its kind before it. Spaces may be more than
/// one, and tabs.
fn is_key(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(key)) = (words.next(), words.next()) else {
        return false;
    };
    let key = format!("{kind} {key}");
    PublicKey::from_openssh(&key).is_ok() || Certificate::from_openssh(&key).is_ok()
}

/// What follows options, which end at the first space outside of quotes (sshd(8)). A
/// quote after a backslash neither begins nor ends what is quoted.
fn without_options(line: &str) -> &str {
    let (mut quoted, mut escapes) = (false, false);
    let is_end = |c: char| {
        quoted ^= c == '"' && !escapes;
        escapes = c == '\\';
        matches!(c, ' ' | '\t') && !quoted
    };
    line.split_once(is_end).map_or("", |(_, rest)| rest)
}

fn private(what: &str) -> Complaint {
    let message = format!("{what} is a PRIVATE key; it must not leave this computer");
    (
        message,
        "give the public half, the file that ends in .pub".to_owned(),
    )
}

fn unreadable(path: &Path, error: &io::Error) -> Complaint {
    let help = match error.kind() {
        io::ErrorKind::NotFound => {
            "check the path; a relative one starts at the manifest's directory"
        }
        io::ErrorKind::PermissionDenied => "check its permissions",
        _ => "",
    };
    (
        format!("{} cannot be read ({error})", path.display()),
        help.to_owned(),
    )
}

fn shorten(text: &str) -> String {
    const MAX: usize = 40;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
