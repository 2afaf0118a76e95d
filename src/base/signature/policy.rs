//! Which signatures count. The arithmetic is the library's; that a key may make a
//! signature, and when, is for whoever trusts it to judge.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, SignedUser, Tag, VerifyingKey};

use super::certificate::Certificate;
use super::{SignatureError, Verified};

/// Changes with what counts: what was found good by other rules is looked at again.
pub(super) const VERSION: u32 = 1;
/// A signature has some hundred bytes.
const MAX_LEN: usize = 64 << 10;
/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(24 * 60 * 60);
/// An RSA key of 2048 bits as it is written: two numbers with their lengths, the
/// second of them at most four bytes.
const RSA_2048_LEN: usize = 2 + 256 + 2 + 1;

/// Checks that one of `keys` made `signature` of `data`, and was free to.
pub(crate) fn verify(
    keys: &[Certificate],
    signature: &[u8],
    data: &mut dyn Read,
    name: &str,
    now: SystemTime,
) -> Result<Verified, SignatureError> {
    let signatures = parse(signature)?;
    let mut stranger = None;
    for signature in &signatures {
        let Some((certificate, maker)) = find_maker(keys, signature) else {
            stranger.get_or_insert_with(|| issuer(signature));
            continue;
        };
        check_signature(signature, now)?;
        maker.check(certificate, signature)?;
        // The data can be read only once: the first that a trusted key made decides.
        let mut reader = Noting { data, error: None };
        let verified = match &maker {
            Maker::Primary => signature.verify(&certificate.key.primary_key, &mut reader),
            Maker::Subkey(subkey) => signature.verify(&subkey.key, &mut reader),
        };
        if let Some(source) = reader.error {
            let name = name.to_owned();
            return Err(SignatureError::Read { name, source });
        }
        verified.map_err(|_| SignatureError::Bad)?;
        let made = i64::from(created(signature)?.as_secs());
        return Ok(Verified {
            fingerprint: certificate.fingerprint().to_owned(),
            user_id: certificate.user_id(),
            basis: certificate.basis(),
            made: Timestamp::from_second(made).unwrap_or_default(),
        });
    }
    Err(stranger.map_or(SignatureError::NotASignature, SignatureError::Stranger))
}

fn parse(bytes: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let none = |_| SignatureError::NotASignature;
    if bytes.len() > MAX_LEN {
        return Err(SignatureError::NotASignature);
    }
    // Binary packets have the topmost bit set (RFC 9580, 4.2).
    let is_binary = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let found: Vec<DetachedSignature> = if is_binary {
        let found = DetachedSignature::from_bytes_many(bytes);
        found.and_then(Iterator::collect).map_err(none)?
    } else {
        let found = DetachedSignature::from_armor_many(bytes);
        found.and_then(|(all, _)| all.collect()).map_err(none)?
    };
    Ok(found.into_iter().map(|found| found.signature).collect())
}

/// Which of a certificate's keys made a signature.
enum Maker<'a> {
    Primary,
    Subkey(&'a SignedPublicSubKey),
}

fn find_maker<'a>(
    keys: &'a [Certificate],
    signature: &Signature,
) -> Option<(&'a Certificate, Maker<'a>)> {
    for certificate in keys {
        if is_by(signature, &certificate.key.primary_key) {
            return Some((certificate, Maker::Primary));
        }
        let mut subkeys = certificate.key.public_subkeys.iter();
        if let Some(subkey) = subkeys.find(|subkey| is_by(signature, &subkey.key)) {
            return Some((certificate, Maker::Subkey(subkey)));
        }
    }
    None
}

/// Whether a signature says that `key` made it.
fn is_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        let id = key.legacy_key_id();
        return signature.issuer_key_id().into_iter().any(|by| *by == id);
    }
    let own = key.fingerprint();
    fingerprints.into_iter().any(|by| *by == own)
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint();
    if let Some(fingerprint) = fingerprint.first() {
        return fingerprint.to_string().to_uppercase();
    }
    match signature.issuer_key_id().first() {
        Some(id) => id.to_string().to_uppercase(),
        None => "of nobody knows whom".to_owned(),
    }
}

/// What can be said of a signature by itself.
fn check_signature(signature: &Signature, now: SystemTime) -> Result<(), SignatureError> {
    if signature.typ() != Some(SignatureType::Binary) {
        return Err(void("it is not of a file"));
    }
    check_hash(signature)?;
    let made: SystemTime = created(signature)?.into();
    if made > now + SKEW {
        return Err(void(
            "it was made in the future; is this computer's clock right?",
        ));
    }
    if let Some(lifetime) = signature.signature_expiration_time()
        && lifetime.as_secs() != 0
        && now > made + Duration::from(lifetime)
    {
        return Err(void("it has expired"));
    }
    Ok(())
}

/// Collisions of MD5 and SHA-1 can be made (shattered.io, 2017; SHAmbles, 2020).
fn check_hash(signature: &Signature) -> Result<(), SignatureError> {
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => Ok(()),
        Some(other) => Err(SignatureError::Weak(format!("it is made with {other}"))),
        None => Err(SignatureError::Weak(
            "nobody knows how it was made".to_owned(),
        )),
    }
}

fn check_strength(key: &impl KeyDetails) -> Result<(), SignatureError> {
    let weak = |what: &str| Err(SignatureError::Weak(what.to_owned()));
    match key.algorithm() {
        PublicKeyAlgorithm::RSA | PublicKeyAlgorithm::RSASign
            if key.public_params().write_len() < RSA_2048_LEN =>
        {
            weak("its key has less than 2048 bits")
        }
        PublicKeyAlgorithm::DSA => weak("its key is a DSA key"),
        _ => Ok(()),
    }
}

impl Maker<'_> {
    /// Whether the key was free to make a signature at its time.
    fn check(
        &self,
        certificate: &Certificate,
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let made = created(signature)?.into();
        let key = &certificate.key;
        let primary = &key.primary_key;
        let is_revoked = |revocation: &Signature| {
            revocation.typ() == Some(SignatureType::KeyRevocation)
                && revocation.verify_key(primary).is_ok()
        };
        if key.details.revocation_signatures.iter().any(is_revoked) {
            return Err(void("its key was revoked"));
        }
        let about = SelfSignatures::of(certificate)?;
        check_time("key", primary, &about.lifetimes(), made)?;
        match self {
            Self::Primary => {
                check_strength(primary)?;
                match about.may_sign() {
                    true => Ok(()),
                    false => Err(void("its key is not one that signs")),
                }
            }
            Self::Subkey(subkey) => check_subkey(certificate, subkey, made),
        }
    }
}

/// What a key says of itself, as far as it can be verified.
///
/// Of each user id the newest word counts, and of the key as a whole the newest: one does
/// not take back what the other says. GnuPG's `addrevoker` makes one of the key that tells
/// nothing of its end.
struct SelfSignatures<'a> {
    of_users: Vec<&'a Signature>,
    direct: Option<&'a Signature>,
}

impl<'a> SelfSignatures<'a> {
    fn of(certificate: &'a Certificate) -> Result<Self, SignatureError> {
        let primary = &certificate.key.primary_key;
        let details = &certificate.key.details;
        let newest_of = |user: &'a SignedUser| {
            let by_itself = |signature: &&Signature| {
                is_by(signature, primary)
                    && signature
                        .verify_certification(primary, Tag::UserId, &user.id)
                        .is_ok()
            };
            newest(user.signatures.iter().filter(by_itself))
        };
        let is_revocation =
            |signature: &Signature| signature.typ() == Some(SignatureType::CertRevocation);
        let (revoked, of_users): (Vec<_>, Vec<_>) = details
            .users
            .iter()
            .filter_map(newest_of)
            .partition(|signature| is_revocation(signature));
        let direct = details
            .direct_signatures
            .iter()
            .filter(|signature| signature.verify_key(primary).is_ok());
        let found = Self {
            of_users,
            direct: newest(direct),
        };
        if found.of_users.is_empty() && found.direct.is_none() && !revoked.is_empty() {
            return Err(void("all names of its key were revoked"));
        }
        Ok(found)
    }

    /// Those that tell how long the key lives: both, where both tell.
    fn lifetimes(&self) -> Vec<&'a Signature> {
        let tells = |signature: &&Signature| lifetime(signature).is_some();
        let of_users = newest(self.of_users.iter().copied().filter(tells));
        of_users.into_iter().chain(self.direct).collect()
    }

    /// A key that says nothing may do everything.
    fn may_sign(&self) -> bool {
        let tells = |signature: &&Signature| signature.key_flags() != KeyFlags::default();
        let of_users = newest(self.of_users.iter().copied().filter(tells));
        let direct = self.direct.filter(tells);
        let mut both = of_users.into_iter().chain(direct);
        both.all(|signature| signature.key_flags().sign())
    }
}

fn check_subkey(
    certificate: &Certificate,
    subkey: &SignedPublicSubKey,
    made: SystemTime,
) -> Result<(), SignatureError> {
    let primary = &certificate.key.primary_key;
    let bound: Vec<&Signature> = subkey
        .signatures
        .iter()
        .filter(|binding| binding.verify_subkey_binding(primary, &subkey.key).is_ok())
        .collect();
    let of_type = |typ| bound.iter().any(|binding| binding.typ() == Some(typ));
    if of_type(SignatureType::SubkeyRevocation) {
        return Err(void("its subkey was revoked"));
    }
    let bindings = bound
        .iter()
        .copied()
        .filter(|binding| binding.typ() == Some(SignatureType::SubkeyBinding));
    let Some(binding) = newest(bindings) else {
        return Err(void("its subkey does not belong to the key"));
    };
    // Without the signing subkey's consent, anybody could adopt it.
    let consents = binding.embedded_signature().is_some_and(|back| {
        back.verify_primary_key_binding(&subkey.key, primary)
            .is_ok()
    });
    if !binding.key_flags().sign() || !consents {
        return Err(void("its subkey is not one that signs"));
    }
    check_strength(&subkey.key)?;
    check_time("subkey", &subkey.key, &[binding], made)
}

/// Whether a key was there, and not expired, at the time of a signature.
fn check_time<K: VerifyingKey + Serialize>(
    what: &str,
    key: &K,
    about: &[&Signature],
    made: SystemTime,
) -> Result<(), SignatureError> {
    let born: SystemTime = key.created_at().into();
    if made + SKEW < born {
        return Err(void(&format!("it is older than its {what}")));
    }
    let is_over = |lifetime: Duration| made > born + lifetime;
    if about.iter().copied().filter_map(lifetime).any(is_over) {
        return Err(void(&format!("its {what} had expired when it was made")));
    }
    Ok(())
}

/// How long a key lives, by what it says in this signature of itself.
fn lifetime(about: &Signature) -> Option<Duration> {
    let lifetime = about.key_expiration_time().map(Duration::from);
    lifetime.filter(|lifetime| !lifetime.is_zero())
}

/// The newest of some signatures. Of two of the same second, the one that takes back.
fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| {
        let made = signature.created().map(pgp::types::Timestamp::as_secs);
        (made, signature.typ() == Some(SignatureType::CertRevocation))
    })
}

fn created(signature: &Signature) -> Result<pgp::types::Timestamp, SignatureError> {
    signature
        .created()
        .ok_or_else(|| void("it does not tell when it was made"))
}

fn void(why: &str) -> SignatureError {
    SignatureError::Void(why.to_owned())
}

/// Keeps the error of a reader, which the library would make a bad signature of.
struct Noting<'a> {
    data: &'a mut dyn Read,
    error: Option<io::Error>,
}

impl Read for &mut Noting<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.data.read(buf).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.error = Some(io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}
