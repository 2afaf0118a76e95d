//! Signatures as GnuPG makes them.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Certificate, Keyring, SignatureError, Verified};

const DATA: &[u8] = b"an image";

/// A publisher with a GnuPG of its own.
struct Publisher {
    home: TempDir,
}

impl Publisher {
    /// One whose key is made by `--quick-generate-key` with these arguments.
    fn new(algorithm: &str, usage: &str, expires: &str) -> Self {
        // Sockets have short names.
        let home = tempfile::Builder::new()
            .prefix("g")
            .tempdir_in("/tmp")
            .unwrap();
        let publisher = Self { home };
        publisher.gpg(&[
            "--quick-generate-key",
            "Pub Lisher <p@example.org>",
            algorithm,
            usage,
            expires,
        ]);
        publisher
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("gpg");
        command
            .env("GNUPGHOME", self.home.path())
            .args([
                "--batch",
                "--yes",
                "--quiet",
                "--pinentry-mode",
                "loopback",
                "--passphrase",
                "",
            ])
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        let output = self.command(args).output().expect("gpg is there");
        assert!(output.status.success(), "gpg {args:?}");
        output.stdout
    }

    /// The same, with what it reads from standard input.
    fn gpg_with(&self, input: &[u8], args: &[&str]) {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("gpg is there");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input).unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success(), "gpg {args:?}");
    }

    fn key(&self) -> Vec<u8> {
        self.gpg(&["--export", "--armor"])
    }

    fn sign(&self, args: &[&str]) -> Vec<u8> {
        let path = self.path("data");
        fs::write(&path, DATA).unwrap();
        let file = path.to_str().unwrap();
        self.gpg(&[args, &["--output", "-", "--detach-sign", file]].concat())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// What a user sees who trusts the key.
    fn verify(&self, signature: &[u8], data: &[u8]) -> Result<Verified, SignatureError> {
        verify(&self.key(), signature, data, SystemTime::now())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut stop = Command::new("gpgconf");
        stop.env("GNUPGHOME", self.home.path())
            .args(["--kill", "all"]);
        drop(stop.status());
    }
}

fn verify(
    key: &[u8],
    signature: &[u8],
    mut data: &[u8],
    now: SystemTime,
) -> Result<Verified, SignatureError> {
    let dir = tempfile::tempdir().unwrap();
    let keyring = Keyring::at(dir.path().join("keys"));
    for key in Certificate::parse(key, "key").unwrap() {
        keyring.import(&key).unwrap();
    }
    keyring.verify(signature, &mut data, "data", now)
}

#[test]
fn what_gnupg_signs_is_verified() {
    for algorithm in ["rsa2048", "ed25519"] {
        let publisher = Publisher::new(algorithm, "sign", "never");
        for armour in [&["--armor"][..], &[]] {
            let verified = publisher.verify(&publisher.sign(armour), DATA).unwrap();
            assert_eq!(
                verified.user_id.as_deref(),
                Some("Pub Lisher <p@example.org>")
            );
            let listed = publisher.gpg(&["--with-colons", "--fingerprint"]);
            let listed = String::from_utf8(listed).unwrap();
            assert!(listed.contains(&verified.fingerprint), "{listed}");
        }
    }
}

#[test]
fn a_subkey_signs_for_its_key() {
    let publisher = Publisher::new("ed25519", "cert", "never");
    let fingerprint = publisher.fingerprint();
    publisher.gpg(&["--quick-add-key", &fingerprint, "rsa2048", "sign", "never"]);
    let verified = publisher.verify(&publisher.sign(&[]), DATA).unwrap();
    assert_eq!(verified.fingerprint, fingerprint);
}

impl Publisher {
    fn fingerprint(&self) -> String {
        Certificate::parse(&self.key(), "key").unwrap()[0]
            .fingerprint()
            .to_owned()
    }
}

#[test]
fn what_was_changed_is_found() {
    let publisher = Publisher::new("ed25519", "sign", "never");
    let signature = publisher.sign(&[]);
    let found = publisher.verify(&signature, b"an imagE");
    assert!(matches!(found, Err(SignatureError::Bad)), "{found:?}");
    // Any bit of the signature itself.
    for at in [10, signature.len() / 2, signature.len() - 1] {
        let mut signature = signature.clone();
        signature[at] ^= 1;
        assert!(publisher.verify(&signature, DATA).is_err(), "byte {at}");
    }
}

#[test]
fn a_stranger_is_named() {
    let publisher = Publisher::new("ed25519", "sign", "never");
    let other = Publisher::new("ed25519", "sign", "never");
    match publisher.verify(&other.sign(&[]), DATA) {
        Err(SignatureError::Stranger(by)) => assert_eq!(by, other.fingerprint()),
        found => panic!("{found:?}"),
    }
}

#[test]
fn weak_digests_prove_nothing() {
    let publisher = Publisher::new("rsa2048", "sign", "never");
    let signature = publisher.sign(&["--digest-algo", "SHA1"]);
    let found = publisher.verify(&signature, DATA);
    assert!(matches!(found, Err(SignatureError::Weak(_))), "{found:?}");
}

#[test]
fn short_keys_prove_nothing() {
    let publisher = Publisher::new("rsa1024", "sign", "never");
    let found = publisher.verify(&publisher.sign(&[]), DATA);
    assert!(matches!(found, Err(SignatureError::Weak(_))), "{found:?}");
}

#[test]
fn a_key_counts_while_it_lives() {
    let day = Duration::from_secs(24 * 60 * 60);
    let publisher = Publisher::new("ed25519", "sign", "1d");
    let signature = publisher.sign(&[]);
    // Made while it lived: as good as ever.
    let later = SystemTime::now() + 30 * day;
    verify(&publisher.key(), &signature, DATA, later).unwrap();
    let late = publisher.sign(&["--faked-system-time", &faked(23 * 60 * 60)]);
    verify(&publisher.key(), &late, DATA, later).unwrap();
    // GnuPG itself would not sign any more; a thief would turn the clock back, or on.
    let longer = publisher.key();
    let made = publisher.extend_and_sign(10 * day);
    let found = verify(&longer, &made, DATA, later);
    assert!(matches!(found, Err(SignatureError::Void(_))), "{found:?}");
    let found = verify(&publisher.key(), &made, DATA, SystemTime::now());
    assert!(matches!(found, Err(SignatureError::Void(_))), "{found:?}");
}

/// So many seconds from now, as GnuPG reads a time.
fn faked(seconds: u64) -> String {
    let time = SystemTime::now() + Duration::from_secs(seconds);
    let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{}!", time.as_secs())
}

impl Publisher {
    /// Signs `after` from now with a key that lives on, unknown to those who trust it.
    fn extend_and_sign(&self, after: Duration) -> Vec<u8> {
        self.gpg(&["--quick-set-expire", &self.fingerprint(), "never"]);
        self.sign(&["--faked-system-time", &faked(after.as_secs())])
    }
}

#[test]
fn what_is_said_later_of_something_else_does_not_revive_a_key() {
    let day = Duration::from_secs(24 * 60 * 60);
    let publisher = Publisher::new("ed25519", "sign", "1d");
    let fingerprint = publisher.fingerprint();
    let later = ["--faked-system-time", &faked(60)];
    let second = "Second <s@example.org>";
    publisher.gpg(&[&later[..], &["--quick-add-uid", &fingerprint, second]].concat());
    let of_both = publisher.key();
    let much_later = ["--faked-system-time", &faked(120)];
    let revoke = ["--quick-revoke-uid", &fingerprint, second];
    publisher.gpg(&[&much_later[..], &revoke].concat());
    let revoked = publisher.key();
    // A signature of the key as a whole that tells nothing of its end.
    let other = Publisher::new("ed25519", "sign", "never");
    publisher.gpg_with(&other.key(), &["--import"]);
    let edit = ["--command-fd", "0", "--edit-key", &fingerprint];
    let answers = format!("addrevoker\n{}\ny\nsave\n", other.fingerprint());
    publisher.gpg_with(answers.as_bytes(), &[&much_later[..], &edit].concat());
    let appointed = publisher.gpg(&["--export", "--armor", &fingerprint]);
    assert_ne!(appointed, revoked);
    let sign_as = ["--local-user", &fingerprint];
    let good = publisher.sign(&sign_as);
    publisher.gpg(&["--quick-set-expire", &fingerprint, "never"]);
    let late = publisher.sign(&[&sign_as[..], &["--faked-system-time", &faked(864_000)]].concat());
    for key in [appointed, of_both, revoked] {
        verify(&key, &good, DATA, SystemTime::now()).unwrap();
        let found = verify(&key, &late, DATA, SystemTime::now() + 20 * day);
        assert!(matches!(found, Err(SignatureError::Void(_))), "{found:?}");
    }
    // Its owner may revive it.
    let extended = publisher.gpg(&["--export", "--armor", &fingerprint]);
    verify(&extended, &late, DATA, SystemTime::now() + 20 * day).unwrap();
}

#[test]
fn a_key_of_nobody_counts_no_more() {
    let publisher = Publisher::new("ed25519", "sign", "never");
    let (signature, fingerprint) = (publisher.sign(&[]), publisher.fingerprint());
    let later = ["--faked-system-time", &faked(60)];
    // GnuPG itself keeps the last one.
    let second = "Second <s@example.org>";
    publisher.gpg(&[&later[..], &["--quick-add-uid", &fingerprint, second]].concat());
    let first = "Pub Lisher <p@example.org>";
    publisher.gpg(&[&later[..], &["--quick-revoke-uid", &fingerprint, first]].concat());
    publisher.verify(&signature, DATA).unwrap();
    let only_first = ["--export-filter", "keep-uid=uid =~ Pub"];
    let key = publisher.gpg(&[&only_first[..], &["--armor", "--export"]].concat());
    let found = verify(&key, &signature, DATA, SystemTime::now());
    assert!(matches!(found, Err(SignatureError::Void(_))), "{found:?}");
}

#[test]
fn a_signature_may_end() {
    let publisher = Publisher::new("ed25519", "sign", "never");
    let signature = publisher.sign(&["--default-sig-expire", "1d"]);
    publisher.verify(&signature, DATA).unwrap();
    let later = SystemTime::now() + Duration::from_secs(3 * 24 * 60 * 60);
    let found = verify(&publisher.key(), &signature, DATA, later);
    assert!(matches!(found, Err(SignatureError::Void(_))), "{found:?}");
}

#[test]
fn a_revoked_key_counts_no_more() {
    let publisher = Publisher::new("ed25519", "sign", "never");
    let signature = publisher.sign(&[]);
    let revocation = publisher
        .path("openpgp-revocs.d")
        .join(format!("{}.rev", publisher.fingerprint()));
    // GnuPG puts a colon before the armour, lest somebody import it by mistake.
    let text = fs::read_to_string(&revocation).unwrap();
    fs::write(&revocation, text.replace(":-----BEGIN", "-----BEGIN")).unwrap();
    publisher.gpg(&["--import", revocation.to_str().unwrap()]);
    let found = publisher.verify(&signature, DATA);
    assert!(matches!(found, Err(SignatureError::Void(_))), "{found:?}");
}

#[test]
fn subkeys_for_other_ends_change_nothing() {
    let publisher = Publisher::new("ed25519", "sign", "never");
    let signature = publisher.sign(&[]);
    let fingerprint = publisher.fingerprint();
    publisher.gpg(&["--quick-add-key", &fingerprint, "ed25519", "auth", "never"]);
    publisher.verify(&signature, DATA).unwrap();
}

#[test]
fn of_text_or_keys_a_signature_is_none_of_an_image() {
    let publisher = Publisher::new("ed25519", "sign", "never");
    let found = publisher.verify(&publisher.sign(&["--textmode"]), DATA);
    assert!(matches!(found, Err(SignatureError::Void(_))), "{found:?}");
    let found = publisher.verify(&publisher.key(), DATA);
    assert!(
        matches!(found, Err(SignatureError::NotASignature)),
        "{found:?}"
    );
}

#[test]
fn secret_keys_are_refused() {
    let publisher = Publisher::new("ed25519", "sign", "never");
    for armour in ["--armor", "--no-armor"] {
        let secret = publisher.gpg(&[armour, "--export-secret-keys"]);
        let found = Certificate::parse(&secret, "mine.asc");
        assert!(
            matches!(found, Err(SignatureError::SecretKey(_))),
            "{found:?}"
        );
    }
}

#[test]
fn keys_are_kept_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = Keyring::at(dir.path().join("a/keys"));
    assert!(keyring.certificates().unwrap().is_empty());
    let found = keyring.verify(b"x", &mut &b""[..], "x", SystemTime::now());
    assert!(matches!(found, Err(SignatureError::NoKeys)));
    let publisher = Publisher::new("ed25519", "sign", "never");
    let key = &Certificate::parse(&publisher.key(), "key").unwrap()[0];
    keyring.import(key).unwrap();
    assert_eq!(keyring.certificates().unwrap(), std::slice::from_ref(key));
    fs::write(keyring.dir().join("0000.pgp"), "x").unwrap();
    assert!(matches!(
        keyring.certificates(),
        Err(SignatureError::DamagedKey(_))
    ));
    fs::remove_file(keyring.dir().join("0000.pgp")).unwrap();
    assert!(!keyring.remove("../../x").unwrap());
    assert!(keyring.remove(&key.fingerprint().to_lowercase()).unwrap());
    assert!(keyring.certificates().unwrap().is_empty());
}

#[test]
fn an_image_that_cannot_be_read_is_not_called_forged() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("a bad sector"))
        }
    }
    let publisher = Publisher::new("ed25519", "sign", "never");
    let dir = tempfile::tempdir().unwrap();
    let keyring = Keyring::at(dir.path().to_owned());
    keyring
        .import(&Certificate::parse(&publisher.key(), "key").unwrap()[0])
        .unwrap();
    let found = keyring.verify(&publisher.sign(&[]), &mut Broken, "x", SystemTime::now());
    assert!(
        matches!(found, Err(SignatureError::Read { .. })),
        "{found:?}"
    );
}

proptest! {
    #[test]
    fn bytes_of_strangers_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000), armour: bool) {
        let bytes = if armour {
            let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &bytes);
            format!("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{body}\n-----END PGP PUBLIC KEY BLOCK-----\n").into_bytes()
        } else {
            bytes
        };
        drop(Certificate::parse(&bytes, "x"));
        drop(super::policy::verify(&[], &bytes, &mut &b""[..], "x", SystemTime::now()));
    }
}
