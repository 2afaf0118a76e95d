//! What `cluster.lock` keeps of what was made, by `build` as by `flash`.

use std::collections::BTreeMap;

use anyhow::Result;

use super::workspace::Workspace;
use crate::base::Sha256Digest;
use crate::cluster::record::Entry;
use crate::plan::{Card, OpenBase};
use crate::report::event::{Event, Sink};

/// Records what was made, by node number, and tells of a base that is no longer what it
/// was under the same name: somebody replaced it, or its disk is rotting. An identity that
/// another process has replaced meanwhile does not come back.
pub(super) fn keep(
    workspace: &Workspace,
    entries: Vec<(u32, Entry)>,
    sink: &dyn Sink,
) -> Result<()> {
    let mut told = BTreeMap::new();
    workspace.update_record(|record| {
        for (number, entry) in entries {
            if let Some(before) = record.other_base(number, &entry) {
                let message = format!(
                    "{} is not what it was when {} was made before (SHA-256 of its bytes {before}, \
                     now {}). If nobody replaced it, compare it with a good copy.",
                    entry.base_name, entry.hostname, entry.base
                );
                told.entry(entry.base_name.clone()).or_insert(message);
            }
            let hostname = entry.hostname.clone();
            if !record.set(number, entry) {
                let message = format!(
                    "{hostname} was given a new identity meanwhile: what was made here is of the \
                     old one; make it anew"
                );
                told.insert(hostname, message);
            }
        }
    })?;
    for message in told.values() {
        sink.send(Event::Noticed { message });
    }
    Ok(())
}

/// What the record keeps of a node that was made.
pub(super) fn entry(card: &Card, on: &OpenBase, base: Sha256Digest, image: Sha256Digest) -> Entry {
    Entry {
        hostname: card.node.hostname.clone(),
        generation: card.generation,
        base,
        base_name: on.base.name().to_owned(),
        overlay: card.overlay.digest(),
        image: image.to_string(),
        host_key: card.host_key.fingerprint.clone(),
        instance_id: card.boot_files.instance_id.clone(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
