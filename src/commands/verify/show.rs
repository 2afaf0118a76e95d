//! What `verify` found, in words and as JSON.

use std::fs;
use std::path::Path;

use anyhow::Result;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::target::Damage;
use crate::base::{Format, read_format};
use crate::commands::Context;
use crate::commands::difference::{Differences, MAX_REGIONS};
use crate::exit::ExitCode;
use crate::output::{Compression, Expected};

/// An image, and what came of comparing it.
pub(super) struct Comparison<'a> {
    pub(super) name: String,
    pub(super) target: &'a Path,
    pub(super) expected: &'a Expected,
    pub(super) outcome: Outcome,
}

/// What came of it.
pub(super) enum Outcome {
    /// It is what is planned.
    Same,
    /// It is not.
    Different(Differences),
    /// It is compressed and does not unpack, so it is not.
    Damaged(Damage),
}

impl Outcome {
    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::Same => ExitCode::Done,
            Self::Different(_) | Self::Damaged(_) => ExitCode::Different,
        }
    }
}

impl Damage {
    /// How to have a good one.
    fn advice(&self, name: &str) -> String {
        let made_as = match self.format {
            Format::Xz => Some(Compression::Xz),
            Format::Zstd => Some(Compression::Zst),
            Format::Raw | Format::Gzip | Format::Bzip2 | Format::Zip => None,
        };
        match made_as {
            Some(compression) => format!(
                "Copy it once more, or build it anew: `cardmint build --nodes {name} --format \
                 img.{} --force`",
                compression.suffix()
            ),
            None => "Copy it once more, or compress it anew.".to_owned(),
        }
    }
}

/// How the bytes of a card are compressed, if they are.
fn packed_format(card: &Path) -> Option<Format> {
    let format = read_format(&fs::File::open(card).ok()?).ok()?;
    (format != Format::Raw).then_some(format)
}

impl Comparison<'_> {
    pub(super) fn show(&self, context: &mut Context<'_>) -> Result<()> {
        let (name, target) = (&self.name, self.target.display());
        let is_empty =
            fs::metadata(self.target).is_ok_and(|found| found.is_file() && found.len() == 0);
        if is_empty {
            let what = "is empty, and not what is planned for";
            writeln!(
                context.out,
                "{target} {what} {name}. Was it copied to its end?"
            )?;
            return Ok(());
        }
        match &self.outcome {
            Outcome::Same => {
                let compared = if self.expected.is_of_card() {
                    "every block that the image uses compared"
                } else {
                    "every byte compared"
                };
                context.tell(format_args!(
                    "{target} holds exactly what is planned for {name}: {}, {compared}",
                    HumanBytes(self.expected.compared_len())
                ))
            }
            Outcome::Damaged(damage) => {
                writeln!(
                    context.out,
                    "{target} is damaged, and not what is planned for {name}: {}\n{}",
                    damage.what,
                    damage.advice(name)
                )?;
                Ok(())
            }
            Outcome::Different(differences) => self.show_differences(context, differences),
        }
    }

    fn show_differences(&self, context: &mut Context<'_>, found: &Differences) -> Result<()> {
        let (name, target) = (&self.name, self.target.display());
        writeln!(
            context.out,
            "{target} differs from what is planned for {name}:"
        )?;
        if self.expected.is_of_card()
            && let Some(format) = packed_format(self.target)
        {
            writeln!(
                context.out,
                "  it begins as {format} does: was a compressed image written to it without unpacking it?"
            )?;
        }
        for file in &found.files {
            writeln!(context.out, "  {file}")?;
        }
        for region in found.regions.iter().take(MAX_REGIONS) {
            let (start, len) = (region.range.start, region.range.end - region.range.start);
            writeln!(
                context.out,
                "  {} at byte {start} ({})",
                HumanBytes(len),
                region.place
            )?;
        }
        if let Some(more) = found.regions.len().checked_sub(MAX_REGIONS + 1) {
            writeln!(context.out, "  and {} more regions", more + 1)?;
        }
        writeln!(
            context.out,
            "A card that has booted, a changed manifest or another base all differ; \
             `cardmint inspect {target}` tells what it is."
        )?;
        Ok(())
    }

    pub(super) fn to_json(&self) -> Value {
        let nothing = Differences::default();
        let (result, found, damage) = match &self.outcome {
            Outcome::Same => ("same", &nothing, None),
            Outcome::Different(found) => ("different", found, None),
            Outcome::Damaged(damage) => ("different", &nothing, Some(&damage.what)),
        };
        let regions = found.regions.iter().map(|region| {
            json!({
                "offset": region.range.start,
                "len": region.range.end - region.range.start,
                "place": region.place,
            })
        });
        let compared_len = match damage {
            Some(_) => 0,
            None => self.expected.compared_len(),
        };
        json!({
            "hostname": self.name,
            "image": self.target.display().to_string(),
            "result": result,
            "planned_digest": (!self.expected.is_of_card()).then(|| self.expected.image_digest()),
            "compared_len": compared_len,
            "damage": damage,
            "files": found.files,
            "regions": regions.collect::<Vec<_>>(),
        })
    }
}
