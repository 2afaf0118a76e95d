//! Digests of whole images, as other tools take them: one pass over the base for
//! all nodes.

use std::thread;

use sha2::Digest as _;

use super::{Build, OutputError};
use crate::base::Sha256Digest;
use crate::overlay::Overlay;

/// SHA-256 of `base + overlay` for each of `overlays`. Other than the digest that
/// the record keeps, it has to be taken over every byte of every node.
///
/// # Errors
/// Where the base fails, and where the user asks to stop.
pub fn sha256_of_images(
    build: &Build<'_>,
    overlays: &[&Overlay],
) -> Result<Vec<Sha256Digest>, OutputError> {
    let mut nodes: Vec<_> = overlays
        .iter()
        .map(|overlay| (*overlay, sha2::Sha256::new()))
        .collect();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = nodes.len().div_ceil(cores).max(1);
    let update = |nodes: &mut [(&Overlay, sha2::Sha256)], offset: u64, chunk: &[u8]| {
        for (overlay, hasher) in nodes {
            if overlay.touches(offset, chunk.len() as u64) {
                let mut bytes = chunk.to_vec();
                overlay.apply(offset, &mut bytes);
                hasher.update(&bytes);
            } else {
                hasher.update(chunk);
            }
        }
    };
    let mut each = |offset: u64, chunk: &[u8], _: &Sha256Digest| {
        thread::scope(|scope| {
            for nodes in nodes.chunks_mut(share) {
                scope.spawn(move || update(nodes, offset, chunk));
            }
        });
        Ok(())
    };
    build
        .base
        .digest_while(build.cache, build.sink, build.interrupt, &mut each)?;
    Ok(nodes
        .into_iter()
        .map(|(_, hasher)| Sha256Digest(hasher.finalize().into()))
        .collect())
}
