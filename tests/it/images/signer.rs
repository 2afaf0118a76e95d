use tempfile::TempDir;

use super::*;

/// Somebody with a key in a GnuPG of his own.
pub(super) struct Signer {
    home: TempDir,
}

impl Signer {
    pub(super) fn new() -> Self {
        let home = tempfile::Builder::new()
            .prefix("g")
            .tempdir_in("/tmp")
            .expect("a directory");
        let signer = Self { home };
        signer.gpg(&[
            "--quick-generate-key",
            "Downloads Key",
            "ed25519",
            "sign",
            "never",
        ]);
        signer
    }

    fn gpg(&self, args: &[&str]) {
        let status = Command::new("gpg")
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
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("gpg").success(), "{args:?}");
    }

    /// Writes the key as it is now; its file.
    pub(super) fn key(&self, publisher: &Publisher) -> PathBuf {
        let key = publisher.scratch.path("key.asc");
        let out = key.to_str().expect("UTF-8");
        self.gpg(&["--armor", "--output", out, "--export"]);
        key
    }

    /// The signature of a file, which lies beside it then, too.
    pub(super) fn sign(&self, path: &Path) -> Vec<u8> {
        let path = path.display().to_string();
        self.gpg(&["--detach-sign", &path]);
        fs::read(format!("{path}.sig")).expect("a signature")
    }

    pub(super) fn revoke(&self) {
        let folder = self.home.path().join("openpgp-revocs.d");
        for file in fs::read_dir(folder).expect("a directory").flatten() {
            // GnuPG puts a colon before the armour, lest somebody import it by mistake.
            let text = fs::read_to_string(file.path()).expect("a revocation");
            fs::write(file.path(), text.replace(":-----BEGIN", "-----BEGIN")).expect("a file");
            self.gpg(&["--import", file.path().to_str().expect("UTF-8")]);
        }
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let mut stop = Command::new("gpgconf");
        stop.env("GNUPGHOME", self.home.path());
        drop(stop.args(["--kill", "all"]).status());
    }
}

/// Makes a key and signs the image with it; the key's file.
pub(super) fn sign(publisher: &Publisher) -> PathBuf {
    let signer = Signer::new();
    signer.sign(&publisher.image);
    signer.key(publisher)
}
