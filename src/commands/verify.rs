//! `cardmint verify`: whether an image holds exactly what is planned.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use indicatif::HumanBytes;
use serde_json::json;

use super::difference::{self, Differences, MAX_REGIONS};
use super::used::Maps;
use super::workspace::{Pick, Workspace};
use super::{Context, Usage};
use crate::base::chunk::{CHUNK_LEN, digest_pieces, digest_used};
use crate::base::read_at::RawFile;
use crate::base::{Base, Cache, ChunkDigests, Format, ReadAt, Sha256Digest, read_format};
use crate::card::sudo_again;
use crate::cli::VerifyArgs;
use crate::exit::ExitCode;
use crate::output::{Expected, differing_chunks};
use crate::overlay::Minted;
use crate::plan::{Card, OpenBase};

pub(super) fn run(context: &mut Context<'_>, args: &VerifyArgs) -> Result<ExitCode> {
    let workspace = Workspace::open(context)?;
    let nodes = vec![workspace.select_one(&args.node)?];
    let name = nodes[0].hostname.clone();
    check_readable(&args.target)?;
    let bases = workspace.bases(context, &nodes, args.mechanism, Pick::AsBefore)?;
    let orders = workspace.orders(nodes, &bases, Path::new(""))?;
    let plan = workspace.plan(&bases, orders)?;
    let (on, card) = (&bases.list[0], &plan.cards[0]);
    let written = workspace.record.card(card.node.number);
    let was_flashed = args
        .target
        .canonicalize()
        .is_ok_and(|path| written.is_some_and(|entry| Path::new(&entry.device) == path));
    let packed = open_packed(context, &workspace.cache, &args.target)?;
    let is_card = was_flashed || is_card(&args.target, on.layout.disk.len)?;
    let expected = if packed.is_none() && is_card {
        expect_card(context, &workspace, on, card)?
    } else {
        let digests = on
            .base
            .digests(&workspace.cache, &context.progress, &context.interrupt)?;
        Expected::new(&on.base, &digests.chunks, &card.overlay)?
    };
    let chunks = match &packed {
        Some(packed) => packed.differing_chunks(&expected),
        None => differing_chunks(
            &args.target,
            &expected,
            &name,
            &context.progress,
            &context.interrupt,
        )?,
    };
    let (differences, code) = if chunks.is_empty() {
        (Differences::default(), ExitCode::Done)
    } else {
        let planned = Minted {
            base: &on.base,
            overlay: &card.overlay,
        };
        let image = open_image(&args.target, packed)?;
        let found = (args.target.as_path(), &*image);
        let differences = difference::find(found, &planned, &on.layout, &expected, &chunks)?;
        (differences, ExitCode::Different)
    };
    if args.json {
        let report = to_json(&name, &args.target, &expected, &differences, code);
        context.print_json(&report)?;
    } else {
        show(context, &name, &args.target, &expected, &differences)?;
    }
    Ok(code)
}

/// Refuses early, and says what to do.
pub(super) fn check_readable(target: &Path) -> Result<()> {
    let kind = match fs::metadata(target) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(Usage(format!("there is no {}", target.display())))
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", target.display())),
    };
    if kind.is_dir() {
        bail!(Usage(format!(
            "{} is a directory; give an image or a card",
            target.display()
        )));
    }
    // Opening a pipe would wait for somebody to write to it.
    if !kind.is_file() && !kind.is_block_device() {
        bail!(Usage(format!(
            "{} is neither a file nor a block device; give an image or a card",
            target.display()
        )));
    }
    if let Err(error) = fs::File::open(target)
        && error.kind() == ErrorKind::PermissionDenied
    {
        bail!(Usage(format!(
            "you may not read {0}. Run the same once more {1}, or join the group that may \
             (`ls -l {0}` tells which)",
            target.display(),
            sudo_again()
        )));
    }
    Ok(())
}

/// The bytes of the image, unpacked.
fn open_image(target: &Path, packed: Option<Packed>) -> Result<Box<dyn ReadAt>> {
    if let Some(packed) = packed {
        return Ok(Box::new(packed.image));
    }
    let open = || RawFile::new(fs::File::open(target)?);
    let image = open().with_context(|| format!("reading {}", target.display()))?;
    Ok(Box::new(image))
}

/// A compressed image, all of which was read.
struct Packed {
    image: Base,
    chunks: ChunkDigests,
}

/// Opens the image, if it is compressed; what is remembered of it counts for
/// nothing.
fn open_packed(context: &Context<'_>, cache: &Cache, target: &Path) -> Result<Option<Packed>> {
    let failed = || format!("reading {}", target.display());
    let file = fs::File::open(target).with_context(failed)?;
    if read_format(&file).with_context(failed)? == Format::Raw {
        return Ok(None);
    }
    let (image, digests) = Base::open_afresh(target, cache, &context.progress, &context.interrupt)?;
    Ok(Some(Packed {
        image,
        chunks: digests.chunks,
    }))
}

impl Packed {
    fn differing_chunks(&self, expected: &Expected) -> Vec<usize> {
        let found = self.chunks.as_slice();
        let count = expected.chunks().max(found.len());
        (0..count)
            .filter(|&index| found.get(index) != expected.digest(index))
            .collect()
    }
}

/// A card, or a file that stands in for one, holds more than the image, and old bytes where the image uses nothing;
/// an image file has neither.
fn is_card(target: &Path, image_len: u64) -> Result<bool> {
    let metadata = fs::metadata(target).with_context(|| target.display().to_string())?;
    Ok(metadata.file_type().is_block_device() || metadata.len() > image_len)
}

/// Reads the base once for what the used blocks of a card must be.
fn expect_card(
    context: &Context<'_>,
    workspace: &Workspace,
    on: &OpenBase,
    card: &Card,
) -> Result<Expected> {
    let used = Maps::new(on, false, &context.progress)?.of_card(&card.overlay)?;
    let mut digests = BTreeMap::new();
    let mut put = |offset: u64, base: &[u8], whole: &Sha256Digest| {
        let len = base.len() as u64;
        let pieces: Vec<_> = used.within(offset, len).collect();
        if pieces.is_empty() {
            return;
        }
        // A chunk's number of a base that is open fits.
        let index = usize::try_from(offset / CHUNK_LEN as u64).unwrap_or(usize::MAX);
        let digest = if card.overlay.touches(offset, len) {
            let mut bytes = base.to_vec();
            card.overlay.apply(offset, &mut bytes);
            digest_pieces(&bytes, offset, &pieces)
        } else {
            digest_used(base, offset, &pieces, whole)
        };
        digests.insert(index, digest);
    };
    on.base.digest_while(
        &workspace.cache,
        &context.progress,
        &context.interrupt,
        &mut |offset, base, whole| {
            put(offset, base, whole);
            Ok(())
        },
    )?;
    Ok(Expected::of_card(digests, used))
}

fn show(
    context: &mut Context<'_>,
    name: &str,
    target: &Path,
    expected: &Expected,
    differences: &Differences,
) -> Result<()> {
    let is_empty = fs::metadata(target).is_ok_and(|found| found.is_file() && found.len() == 0);
    let target = target.display();
    if is_empty {
        let what = "is empty, and not what is planned for";
        writeln!(
            context.out,
            "{target} {what} {name}. Was it copied to its end?"
        )?;
        return Ok(());
    }
    if differences.regions.is_empty() {
        let compared = if expected.is_of_card() {
            "every block that the image uses compared"
        } else {
            "every byte compared"
        };
        return context.tell(format_args!(
            "{target} holds exactly what is planned for {name}: {}, {compared}",
            HumanBytes(expected.compared_len())
        ));
    }
    writeln!(
        context.out,
        "{target} differs from what is planned for {name}:"
    )?;
    for file in &differences.files {
        writeln!(context.out, "  {file}")?;
    }
    for region in differences.regions.iter().take(MAX_REGIONS) {
        let (start, len) = (region.range.start, region.range.end - region.range.start);
        writeln!(
            context.out,
            "  {} at byte {start} ({})",
            HumanBytes(len),
            region.place
        )?;
    }
    if let Some(more) = differences.regions.len().checked_sub(MAX_REGIONS + 1) {
        writeln!(context.out, "  and {} more regions", more + 1)?;
    }
    writeln!(
        context.out,
        "A card that has booted, a changed manifest or another base all differ; \
         `cardmint inspect {target}` tells what it is."
    )?;
    Ok(())
}

fn to_json(
    name: &str,
    target: &Path,
    expected: &Expected,
    differences: &Differences,
    code: ExitCode,
) -> serde_json::Value {
    let regions: Vec<_> = differences
        .regions
        .iter()
        .map(|region| {
            json!({
                "offset": region.range.start,
                "len": region.range.end - region.range.start,
                "place": region.place,
            })
        })
        .collect();
    json!({
        "hostname": name,
        "image": target.display().to_string(),
        "result": if code == ExitCode::Done { "same" } else { "different" },
        "planned_digest": (!expected.is_of_card()).then(|| expected.image_digest()),
        "compared_len": expected.compared_len(),
        "files": differences.files,
        "regions": regions,
    })
}
