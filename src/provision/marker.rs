//! `cardmint.toml`: tells which node of which cluster a card is. Not secret.

use serde::{Deserialize, Serialize};

use crate::layout::Mechanism;

/// Name of the marker on the boot partition.
pub const FILE_NAME: &str = "cardmint.toml";

/// What a card says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Name of the cluster.
    pub cluster: String,
    /// Number of the node within it.
    #[serde(rename = "node")]
    pub number: u32,
    /// The node's hostname.
    pub hostname: String,
    /// Identity generation: counts the node's identities.
    pub generation: u32,
    /// cloud-init's instance-id, derived from the boot files.
    pub instance_id: String,
    /// Fingerprint of the SSH host key, `SHA256:…`.
    pub host_key: String,
    /// How the card takes its settings.
    #[serde(with = "mechanism")]
    pub mechanism: Mechanism,
    /// Version of the cardmint that made the card.
    pub cardmint: String,
}

/// A `cardmint.toml` that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("reading {FILE_NAME}")]
pub struct MarkerError(#[source] toml::de::Error);

/// A marker that cannot be written, which no value of it brings about.
#[derive(Debug, thiserror::Error)]
#[error("writing {FILE_NAME}")]
pub struct MarkerRenderError(#[source] toml::ser::Error);

impl Marker {
    /// The file's text.
    pub fn render(&self) -> Result<String, MarkerRenderError> {
        let body = toml::to_string(self).map_err(MarkerRenderError)?;
        Ok(format!(
            "# Made by cardmint: which node this card is.\n{body}"
        ))
    }

    /// Reads the file; keys that a later version added are passed over.
    pub fn parse(text: &str) -> Result<Self, MarkerError> {
        let mut marker: Self = toml::from_str(text).map_err(MarkerError)?;
        let texts = [
            &mut marker.cluster,
            &mut marker.hostname,
            &mut marker.instance_id,
            &mut marker.host_key,
            &mut marker.cardmint,
        ];
        // A terminal would obey control characters of a card that lies.
        for text in texts {
            *text = text.replace(char::is_control, "\u{fffd}");
        }
        Ok(marker)
    }
}

/// [`Mechanism`] by the name the manifest uses.
mod mechanism {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::layout::Mechanism;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(value: &Mechanism, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mechanism, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let marker = Marker {
            cluster: "lab \"1\"".to_owned(),
            number: 7,
            hostname: "pi7".to_owned(),
            generation: 2,
            instance_id: "cardmint-00".to_owned(),
            host_key: "SHA256:x+/y".to_owned(),
            mechanism: Mechanism::CloudInit,
            cardmint: "1.2.3".to_owned(),
        };
        let text = marker.render().unwrap();
        assert_eq!(Marker::parse(&text).unwrap(), marker);
        assert_eq!(
            Marker::parse(&format!("later = 1\n{text}")).unwrap(),
            marker
        );
        assert!(Marker::parse("cluster = 1").is_err());
        let steering = text.replace("pi7", "\\u001b[2Jpi7");
        assert_eq!(Marker::parse(&steering).unwrap().hostname, "\u{fffd}[2Jpi7");
    }
}
