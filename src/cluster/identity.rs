//! What makes a node itself: values derived from `cluster.key`.

use hmac::Hmac;
use secrecy::{ExposeSecret as _, SecretString};
use sha_crypt::{PasswordHasher as _, ShaCrypt};
use sha1::Sha1;
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{HashAlg, LineEnding, PrivateKey};
use zeroize::Zeroizing;

use super::key::ClusterKey;
use super::node::{Node, Password};
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

/// An ed25519 SSH key pair.
#[derive(Clone, Debug)]
pub struct HostKey {
    /// OpenSSH private key file, with its final newline.
    pub private: SecretString,
    /// `ssh-ed25519 AAAA… root@raspberrypi0`, one line without newline.
    pub public: String,
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
}

/// A library refused what it should accept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No key pair came out.
    #[error("making an SSH key")]
    Key(#[from] ssh_key::Error),
    /// The password cannot be hashed.
    #[error("hashing the password: {0}")]
    Password(sha_crypt::password_hash::Error),
    /// The operating system has no random numbers.
    #[error("asking for random numbers: {0}")]
    Random(getrandom::Error),
}

impl Identity {
    /// Derives the identity of `node` in a generation.
    ///
    /// # Errors
    /// Where a password cannot be hashed.
    pub fn derive(key: &ClusterKey, node: &Node, generation: u32) -> Result<Self, IdentityError> {
        let uuid = derive::<16>(key, node, generation, "network-uuid");
        let password_hash = match &node.user.password {
            Password::None => None,
            Password::Hash(hash) => Some(hash.clone()),
            Password::Plain(password) => {
                let salt = derive::<12>(key, node, generation, "password-salt");
                Some(crypt(password, &*salt)?.into())
            }
        };
        Ok(Self {
            generation,
            host_key: HostKey::derive(key, node, generation)?,
            password_hash,
            network_uuid: uuid::Builder::from_random_bytes(*uuid)
                .into_uuid()
                .to_string(),
            instance_seed: *derive::<32>(key, node, generation, "instance-id"),
        })
    }

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

    /// The same without its secrets: what is rendered from it can be shown.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        masked.host_key.private = "<host private key>\n".into();
        masked.password_hash = self
            .password_hash
            .as_ref()
            .map(|_| "<password hash>".into());
        masked
    }
}

/// Bytes for one purpose of one node in one generation.
fn derive<const N: usize>(
    key: &ClusterKey,
    node: &Node,
    generation: u32,
    purpose: &str,
) -> Zeroizing<[u8; N]> {
    let (number, counter) = (node.number.to_le_bytes(), generation.to_le_bytes());
    key.derive(&[
        purpose.as_bytes(),
        node.cluster.as_bytes(),
        &number,
        &counter,
    ])
}

impl HostKey {
    /// Derives the SSH host key of `node` in a generation.
    ///
    /// # Errors
    /// Where no key comes of the seed, which does not happen.
    pub fn derive(key: &ClusterKey, node: &Node, generation: u32) -> Result<Self, IdentityError> {
        let seed = derive::<32>(key, node, generation, "ssh-host-key");
        Ok(Self::from_seed(&seed, &format!("root@{}", node.hostname))?)
    }

    fn from_seed(seed: &[u8; 32], comment: &str) -> Result<Self, ssh_key::Error> {
        // Made this way the key carries no random check number: the same seed
        // gives the same file.
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(seed));
        let key = PrivateKey::new(pair, comment)?;
        Ok(Self {
            private: key.to_openssh(LineEnding::LF)?.as_str().into(),
            public: key.public_key().to_openssh()?,
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        })
    }
}

/// The public half of an OpenSSH private key, as one line; of an encrypted one, too.
///
/// # Errors
/// Where it is no such key.
pub fn public_half(private: &SecretString) -> Result<String, IdentityError> {
    let key = PrivateKey::from_openssh(private.expose_secret())?;
    Ok(key.public_key().to_openssh()?)
}

/// A new ed25519 key pair to log in with, from the system's random numbers.
///
/// # Errors
/// Where the system has none.
pub fn new_login_key(comment: &str) -> Result<HostKey, IdentityError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(IdentityError::Random)?;
    Ok(HostKey::from_seed(&seed, comment)?)
}

/// crypt(3) hash of a password, with a random salt: for a manifest.
///
/// # Errors
/// Where the system has no random numbers.
pub fn password_hash(password: &SecretString) -> Result<String, IdentityError> {
    let mut salt = [0; 12];
    getrandom::fill(&mut salt).map_err(IdentityError::Random)?;
    crypt(password, &salt)
}

/// `$6$…`, which every generation of Raspberry Pi OS understands. Twelve bytes
/// make the sixteen characters of a full salt.
fn crypt(password: &SecretString, salt: &[u8]) -> Result<String, IdentityError> {
    ShaCrypt::SHA512
        .hash_password_with_salt(password.expose_secret().as_bytes(), salt)
        .map(|hash| hash.as_str().to_owned())
        .map_err(IdentityError::Password)
}

/// The key that WPA2 derives from a passphrase (IEEE 802.11-2020, J.4): 64 hex
/// digits. What already looks like one is passed on.
#[must_use]
pub fn wifi_psk(passphrase: &SecretString, ssid: &str) -> SecretString {
    let text = passphrase.expose_secret();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return text.to_ascii_lowercase().into();
    }
    let mut psk = Zeroizing::new([0; 32]);
    // The only failure is a key of impossible length; HMAC takes any.
    let derived = pbkdf2::pbkdf2::<Hmac<Sha1>>(text.as_bytes(), ssid.as_bytes(), 4096, &mut *psk);
    debug_assert!(derived.is_ok());
    hex::encode(*psk).into()
}
