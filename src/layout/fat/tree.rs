//! Everything on a FAT, with where it lies.

use std::ops::Range;

use super::{Entry, Fat, FatError};

/// Menus of overlays hold some hundred files; a boot partition that has more than this
/// is damaged, for instance by a directory that holds itself.
const MAX_ENTRIES: usize = 20_000;
/// Nothing on a boot partition lies deeper.
const MAX_DEPTH: usize = 16;

/// A file or directory, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// `overlays/README`.
    pub path: String,
    /// Its entry.
    pub entry: Entry,
    /// Ranges of the whole source, in order; of a directory, all of its clusters.
    pub extents: Vec<Range<u64>>,
}

impl Fat<'_> {
    /// All files and directories, without those of the root directory that
    /// `is_left_out`.
    ///
    /// # Errors
    /// Where one of them is damaged, or there are too many.
    pub fn tree(&self, is_left_out: impl Fn(&Entry) -> bool) -> Result<Vec<Placed>, FatError> {
        let mut found = Vec::new();
        let root = self.root()?.into_iter();
        let mut next: Vec<(usize, String, Entry)> = root
            .filter(|entry| !is_left_out(entry))
            .map(|entry| (0, entry.name.clone(), entry))
            .collect();
        while let Some((depth, path, entry)) = next.pop() {
            let extents = if entry.is_dir {
                for inner in self.list(&entry)? {
                    next.push((depth + 1, format!("{path}/{}", inner.name), inner));
                }
                self.chain_extents(entry.first_cluster)?
            } else {
                self.extents(&entry)?
            };
            found.push(Placed {
                path,
                entry,
                extents,
            });
            if depth > MAX_DEPTH || found.len() + next.len() > MAX_ENTRIES {
                return Err(FatError::Damaged("its directories have no end".to_owned()));
            }
        }
        Ok(found)
    }

    pub(super) fn chain_extents(&self, first: u32) -> Result<Vec<Range<u64>>, FatError> {
        let len = self.boot.cluster_len();
        let extent = |cluster| {
            let start = self.cluster_offset(cluster);
            start..start + len
        };
        let clusters = self.table.chain(first);
        clusters.map(|cluster| Ok(extent(cluster?))).collect()
    }
}
