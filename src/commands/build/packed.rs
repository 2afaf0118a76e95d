//! `cardmint build --format img.xz` and `img.zst`.

use std::thread;

use anyhow::{Result, bail};

use super::{Fate, is_there, job};
use crate::base::Digests;
use crate::cli::{BuildArgs, ImageFormat};
use crate::commands::Usage;
use crate::commands::used::Maps;
use crate::layout::UsedMap;
use crate::output::{Blocks, Build, Compression, Job, Packer, Packing};
use crate::plan::{Card, OpenBase};

/// Makes the compressed images of all cards on one base. Returns its digests.
pub(super) fn build_base(
    build: Build<'_>,
    on: &OpenBase,
    cards: &[(usize, &Card)],
    (args, format): (&BuildArgs, Compression),
    fates: &mut [Option<Fate>],
) -> Result<Digests> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.and_then(|jobs| usize::try_from(jobs).ok());
    let packing = Packing {
        format,
        level: args.level.unwrap_or(default_level(format)),
        // One waits for the disk while another is at work.
        jobs: jobs.unwrap_or(2 * cores),
    };
    let blocks = Blocks::open(build, packing)?;
    let packer = blocks.packer()?;
    let maps = Maps::new(on, false, build.sink)?;
    let used: Vec<UsedMap> = cards
        .iter()
        .map(|(_, card)| maps.of_card(&card.overlay))
        .collect::<Result<_>>()?;
    let (mut wanted, mut jobs) = (Vec::new(), Vec::new());
    for (&(at, card), used) in cards.iter().zip(&used) {
        let job = job(card, Some(used));
        match existing(&packer, &job) {
            Ok(None) => {}
            Ok(Some(Fate::Refused)) if args.force => {}
            Ok(fate) => {
                fates[at] = fate;
                continue;
            }
            Err(error) => {
                fates[at] = Some(Fate::failed(&error));
                continue;
            }
        }
        wanted.push(at);
        jobs.push(job);
    }
    if !jobs.is_empty() {
        packer.run(&jobs, |index, outcome| {
            fates[wanted[index]] = Some(match outcome {
                Ok(digest) => Fate::Built(digest),
                Err(error) => Fate::failed(&error.into()),
            });
        });
    }
    Ok(packer.digests().clone())
}

/// How images of this kind are compressed; `None` where they are not.
///
/// # Errors
/// Where `--level` asks for one that there is not.
pub(super) fn compression(args: &BuildArgs) -> Result<Option<Compression>> {
    let format = match args.format {
        ImageFormat::Img if args.level.is_some() => bail!(Usage(
            "--level is for compressed images; add --format img.xz or img.zst".to_owned()
        )),
        ImageFormat::Img => return Ok(None),
        ImageFormat::ImgXz => Compression::Xz,
        ImageFormat::ImgZst => Compression::Zst,
    };
    let levels = format.levels();
    match args.level {
        Some(level) if !levels.contains(&level) => bail!(Usage(format!(
            "--level {level}: {} has levels {} to {}",
            format.tool(),
            levels.start(),
            levels.end()
        ))),
        _ => Ok(Some(format)),
    }
}

/// What the tools themselves take where they are not told.
fn default_level(format: Compression) -> u32 {
    match format {
        Compression::Xz => 6,
        Compression::Zst => 3,
    }
}

/// What is already under the image's name.
fn existing(packer: &Packer<'_>, job: &Job<'_>) -> Result<Option<Fate>> {
    if !is_there(&job.path)? {
        return Ok(None);
    }
    Ok(Some(match packer.holds(job)? {
        Some(digest) => Fate::Kept(digest),
        None => Fate::Refused,
    }))
}
