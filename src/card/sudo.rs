//! Commands for `sudo`, as one would type them.

use std::ffi::OsString;
use std::path::Path;

use super::printable;
use crate::provision::quote::sh;

/// Where `sudo` looks for programs, by its usual `secure_path`.
const LOOKED_AT: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// How to run the same once more as root: as `sudo env HOME="$HOME" cardmint …`, since
/// `~/` in the manifest and the cache are the user's. Where this program is one that `sudo`
/// does not find by its name, as after `cargo install`, with its path.
pub(crate) fn sudo_again() -> String {
    std::env::current_exe().map_or_else(|_| again(Path::new("/bin/cardmint")), |path| again(&path))
}

fn again(program: &Path) -> String {
    let folder = program.parent();
    let name = if LOOKED_AT.iter().any(|one| folder == Some(Path::new(one))) {
        "cardmint".to_owned()
    } else {
        shown_command(&[program.into()])
    };
    format!("as `sudo env HOME=\"$HOME\" {name} …`")
}

/// A command as one would type it.
pub(crate) fn shown_command(words: &[OsString]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    let shown = |word: &OsString| {
        let word = printable(&word.to_string_lossy());
        match sh(&word) {
            Ok(quoted) if !word.chars().all(is_plain) => quoted,
            _ => word,
        }
    };
    words.iter().map(shown).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_sudo_does_not_find_is_named_with_its_path() {
        for (program, wanted) in [
            ("/usr/bin/cardmint", "cardmint"),
            ("/usr/local/bin/cardmint", "cardmint"),
            (
                "/home/me/.cargo/bin/cardmint",
                "/home/me/.cargo/bin/cardmint",
            ),
            ("/home/a b/cardmint", "'/home/a b/cardmint'"),
        ] {
            let wanted = format!("as `sudo env HOME=\"$HOME\" {wanted} …`");
            assert_eq!(again(Path::new(program)), wanted);
        }
    }
}
