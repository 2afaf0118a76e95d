//! A Wi-Fi network as templates see it.

use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::cluster::node::{Wifi, WifiSecurity};

/// The values of `wifi.nmconnection` and `wpa_supplicant.conf`.
#[derive(Serialize)]
pub(super) struct WifiValues<'a> {
    ssid: &'a str,
    /// The network's name for a comment, where its own place holds hex digits.
    ssid_comment: String,
    hidden: bool,
    country: &'a str,
    /// `open`, `psk` or `sae`.
    kind: &'static str,
    /// The derived key; for SAE, the passphrase.
    key: &'a str,
}

impl<'a> WifiValues<'a> {
    pub(super) fn new(wifi: &'a Wifi) -> Self {
        let (kind, key) = match &wifi.security {
            WifiSecurity::Open => ("open", ""),
            WifiSecurity::Psk(key) => ("psk", key.expose_secret()),
            WifiSecurity::Sae(passphrase) => ("sae", passphrase.expose_secret()),
        };
        Self {
            ssid: &wifi.ssid,
            ssid_comment: wifi.ssid.escape_debug().to_string(),
            hidden: wifi.hidden,
            country: &wifi.country,
            kind,
            key,
        }
    }
}

/// What the user should know about how `wifi` reaches the card.
pub(super) fn notice(wifi: &Wifi) -> Option<String> {
    matches!(wifi.security, WifiSecurity::Sae(_)).then(|| {
        format!(
            "WPA3 (SAE) needs the passphrase of `{}` itself, not a key derived from it: \
             whoever reads the card can read it",
            wifi.ssid.escape_debug()
        )
    })
}

/// The UUID of a second profile: `uuid` with its last bit turned, which keeps
/// version and variant.
pub(super) fn sibling_uuid(uuid: &str) -> String {
    let mut chars: Vec<char> = uuid.chars().collect();
    if let Some(last) = chars.last_mut()
        && let Some(digit) = last.to_digit(16)
    {
        *last = char::from_digit(digit ^ 1, 16).unwrap_or(*last);
    }
    chars.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_profiles_have_two_uuids() {
        let uuid = "6f9619ff-8b86-4011-b42d-00c04fc964ff";
        let other = sibling_uuid(uuid);
        assert_eq!(other, "6f9619ff-8b86-4011-b42d-00c04fc964fe");
        assert_eq!(sibling_uuid(&other), uuid);
        assert_eq!(sibling_uuid("<uuid>"), "<uuid>");
    }
}
