use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use super::{assert_clean, cluster, talkative};
use crate::harness::{Run, skip};
use crate::secrets::needles::Needles;

/// In place of ssh: notes what everybody could read of it in `/proc`, and what it is told.
const STAND_IN: &str = "#!/bin/sh
{ printf '%s\\n' \"$@\"; env; cat \"$2\"; cat; } >>\"$NOTES\"
exit 255
";

#[test]
fn programs_that_are_started_are_told_no_secret() {
    // ssh is started where somebody listens.
    let _listener = match TcpListener::bind("127.0.86.7:22") {
        Ok(listener) => listener,
        Err(error) => return skip(&format!("listening on port 22: {error}")),
    };
    let scratch = cluster("trixie-arm64");
    let needles = Needles::of(&scratch);
    let folder = scratch.path("bin");
    fs::create_dir(&folder).expect("a directory");
    for name in ["ssh", "sudo", "udisksctl"] {
        let path = scratch.write(&format!("bin/{name}"), STAND_IN);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let notes = scratch.path("notes");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let mut command = talkative(&scratch, &["status", "0=127.0.86.7", "1=127.0.86.7", "-v"]);
    let command = command.env("PATH", path).env("NOTES", &notes);
    let run = Run::of(&command.output().expect("the binary runs")).expect(1);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_clean(&needles, "status", said.as_bytes());
    let noted = fs::read(notes).expect("ssh was started");
    let text = String::from_utf8_lossy(&noted);
    assert!(
        text.contains("sh -s") && text.contains("HostKeyAlias"),
        "{text}"
    );
    assert_clean(&needles, "what ssh is told", &noted);
}
