use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::{assert_clean, cluster, talkative};
use crate::harness::{Run, is_root, skip, tool};
use crate::secrets::needles::Needles;

/// In place of ssh: notes what everybody could read of it in `/proc`, and what it is told.
const STAND_IN: &str = "#!/bin/sh
{ printf '%s\\n' \"$@\"; env; cat \"$2\"; cat; } >>\"$NOTES\"
exit 255
";

/// Runs a program in a network of its own, lest somebody listens here. ssh is started
/// where somebody does.
const NETWORK: &str = r#"
set -e
ip link set lo up
mkfifo ../listening
python3 -c 'if True:
    import signal, socket
    listener = socket.create_server(("127.0.86.7", 22))
    print(flush=True)
    signal.pause()
' >../listening &
read -r _ <../listening
code=0
"$@" || code=$?
kill $!
exit $code
"#;

#[test]
fn programs_that_are_started_are_told_no_secret() {
    if !is_root() || tool("unshare", &["--net", "true"]).code != 0 {
        return skip("making networks takes root");
    }
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
    let cardmint = talkative(&scratch, &["status", "0=127.0.86.7", "1=127.0.86.7", "-v"]);
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c", NETWORK, "sh"])
        .arg(cardmint.get_program())
        .args(cardmint.get_args())
        .current_dir(scratch.path("c"))
        .env_clear()
        .envs(
            cardmint
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("PATH", path)
        .env("NOTES", &notes)
        .stdin(Stdio::null());
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
