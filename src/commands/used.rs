//! What a card must hold: read off the file systems, and for those that are not
//! understood off a `.bmap` beside the base.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result};

use crate::card::printable_path;
use crate::interrupt::{Interrupt, Interrupted};
use crate::layout::UsedMap;
use crate::layout::disk::Partition;
use crate::overlay::{Minted, Overlay};
use crate::plan::OpenBase;
use crate::report::event::{Event, Sink};

/// Reads the used maps of one base's cards.
pub(super) struct Maps<'a> {
    on: &'a OpenBase,
    /// Write every byte.
    full: bool,
    /// What of the base holds data.
    base: UsedMap,
}

impl<'a> Maps<'a> {
    pub(super) fn new(
        on: &'a OpenBase,
        full: bool,
        sink: &dyn Sink,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let disk = &on.layout.disk;
        let base = if full {
            UsedMap::whole(disk.len)
        } else {
            let block_map = block_map(on, sink, interrupt)?;
            UsedMap::read_with(&on.base, disk, block_map.as_ref())
                .with_context(|| on.base.name().to_owned())?
        };
        Ok(Self { on, full, base })
    }

    /// What of the base holds data.
    pub(super) fn of_base(&self) -> &UsedMap {
        &self.base
    }

    /// What of a card does.
    pub(super) fn of_card(&self, overlay: &Overlay) -> Result<UsedMap> {
        if self.full {
            return Ok(self.base.clone());
        }
        let base = &self.on.base;
        // Not the base's map with the overlay's extents: a file of ours may equal
        // what lies in free blocks.
        let minted = Minted { base, overlay };
        let is_changed = |partition: &Partition| overlay.touches(partition.offset, partition.len);
        self.base
            .read_changed(&minted, &self.on.layout.disk, is_changed)
            .with_context(|| base.name().to_owned())
    }
}

/// The block map beside the base, where one is needed and there, and says the
/// truth.
fn block_map(on: &OpenBase, sink: &dyn Sink, interrupt: &Interrupt) -> Result<Option<UsedMap>> {
    let read = || -> io::Result<_> {
        let unknown = UsedMap::not_understood(&on.base, &on.layout.disk)?;
        let path = on
            .base
            .path()
            .and_then(beside)
            .filter(|_| !unknown.is_empty());
        Ok((unknown, path))
    };
    let (unknown, path) = read().with_context(|| on.base.name().to_owned())?;
    let Some(path) = path else { return Ok(None) };
    let shown = printable_path(&path);
    let notice = |message: String| sink.send(Event::Noticed { message: &message });
    let parsed = match fs::read(&path) {
        Ok(xml) => UsedMap::parse_bmap(&xml, on.layout.disk.len).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let map = match parsed {
        Ok(map) => map,
        Err(why) => {
            notice(format!("{shown} is left aside: {why}"));
            return Ok(None);
        }
    };
    let go_on = || Ok(interrupt.check()?);
    let agrees = map.agrees(&on.base, &unknown, go_on);
    let named = |error: Error| match error.is::<Interrupted>() {
        true => error,
        false => error.context(on.base.name().to_owned()),
    };
    if agrees.map_err(named)? {
        notice(format!(
            "{shown} tells what a partition uses that cardmint does not know"
        ));
        return Ok(Some(map.used));
    }
    notice(format!(
        "{shown} is left aside: what it lists is not what {} holds",
        on.base.name()
    ));
    Ok(None)
}

/// `x.img.xz.bmap`, `x.img.bmap` or `x.bmap`, as bmaptool looks for it.
fn beside(base: &Path) -> Option<PathBuf> {
    let mut stem = base.to_owned();
    loop {
        let mut name = stem.file_name()?.to_owned();
        name.push(".bmap");
        let path = stem.with_file_name(name);
        if path.is_file() {
            return Some(path);
        }
        stem.extension()?;
        stem.set_extension("");
    }
}
