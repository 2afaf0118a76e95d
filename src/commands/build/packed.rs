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
    let packer = Packer::new(&blocks)?;
    let maps = Maps::new(on, false, build.sink, build.interrupt)?;
    let used: Vec<UsedMap> = cards
        .iter()
        .map(|(_, card)| maps.of_card(&card.overlay))
        .collect::<Result<_>>()?;
    let all: Vec<Job<'_>> = cards
        .iter()
        .zip(&used)
        .map(|((_, card), used)| job(card, Some(used)))
        .collect();
    let mut wanted = Vec::new();
    let found = existing(&packer, &all);
    for ((&(at, _), job), found) in cards.iter().zip(all).zip(found) {
        match found {
            None => wanted.push((at, job)),
            Some(Fate::Refused) if args.force => wanted.push((at, job)),
            fate => fates[at] = fate,
        }
    }
    let (places, jobs): (Vec<usize>, Vec<Job<'_>>) = wanted.into_iter().unzip();
    packer.run(&jobs, |index, outcome| {
        fates[places[index]] = Some(match outcome {
            Ok(digest) => Fate::Built(digest),
            Err(error) => Fate::failed(&error.into()),
        });
    });
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

/// What is already under the name of each image.
fn existing(packer: &Packer<'_>, jobs: &[Job<'_>]) -> Vec<Option<Fate>> {
    let mut fates: Vec<Option<Fate>> = jobs.iter().map(|_| None).collect();
    let mut there = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        match is_there(&job.path) {
            Ok(true) => there.push(index),
            Ok(false) => {}
            Err(error) => fates[index] = Some(Fate::failed(&error)),
        }
    }
    let held: Vec<Job<'_>> = there.iter().map(|&index| jobs[index].clone()).collect();
    packer.check(&held, |index, found| {
        fates[there[index]] = Some(match found {
            Ok(Some(digest)) => Fate::Kept(digest),
            Ok(None) => Fate::Refused,
            Err(error) => Fate::failed(&error.into()),
        });
    });
    fates
}
