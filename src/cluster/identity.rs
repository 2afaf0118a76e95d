//! What makes a node itself: values derived from `cluster.key`.

use secrecy::SecretString;

use crate::base::Sha256Digest;

/// Everything about one node that is derived from `cluster.key`, the cluster's
/// name, the node's number and its identity generation.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Counts up each time the node is given a new identity.
    pub generation: u32,
    /// The SSH host key.
    pub host_key: HostKey,
    /// crypt(3) hash of the user's password, where there is one.
    pub password_hash: Option<SecretString>,
    /// UUID of the node's network profiles (version 4 layout).
    pub network_uuid: String,
    pub(crate) instance_seed: [u8; 32],
}

/// An ed25519 SSH host key.
#[derive(Clone, Debug)]
pub struct HostKey {
    /// OpenSSH private key file, with its final newline.
    pub private: SecretString,
    /// `ssh-ed25519 AAAA… root@raspberrypi0`, one line without newline.
    pub public: String,
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
}

impl Identity {
    /// cloud-init's instance-id for boot files with this digest: the same
    /// files have the same id, and any change makes a new one, so that a
    /// re-flashed card takes its new settings.
    #[must_use]
    pub fn instance_id(&self, boot_files: &Sha256Digest) -> String {
        let mut bytes = self.instance_seed.to_vec();
        bytes.extend_from_slice(&boot_files.0);
        let digest = Sha256Digest::of(&bytes);
        format!("cardmint-{}", hex::encode(&digest.0[..16]))
    }
}
