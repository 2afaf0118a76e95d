//! `cardmint inspect`: what is on an image, a compressed image or a card.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::Table;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::verify::check_readable;
use super::{Context, bases};
use crate::base::{Base, Cache, Format};
use crate::cli::InspectArgs;
use crate::exit::ExitCode;
use crate::layout::ext4::Ext4;
use crate::layout::{Layout, Os, detect};
use crate::provision::marker::Marker;
use crate::provision::report::Report;
use crate::report::{drawn, plain_table};

/// Columns that the whole image takes in the drawing.
const DRAWING_WIDTH: u64 = 64;

/// Everything that is shown.
struct Findings {
    base: Base,
    layout: Layout,
    ext4: Vec<(u32, Ext4)>,
    os: Result<Os, detect::DetectError>,
    marker: Option<Marker>,
    report: Option<Report>,
}

pub(super) fn run(context: &mut Context<'_>, args: &InspectArgs) -> Result<ExitCode> {
    let cache = Cache::open_default()?;
    check_readable(&args.target)?;
    let base = bases::open_file(context, &cache, &args.target)?;
    let layout = Layout::read(&base).with_context(|| base.name().to_owned())?;
    let ext4 = layout
        .disk
        .partitions
        .iter()
        .filter_map(|partition| Some((partition.number, Ext4::read(&base, partition)?)))
        .collect();
    let findings = Findings {
        os: detect::detect(&layout.boot, args.mechanism),
        marker: layout
            .boot
            .marker
            .as_deref()
            .and_then(|text| Marker::parse(text).ok()),
        report: layout
            .boot
            .report
            .as_deref()
            .and_then(|text| Report::parse(text).ok()),
        ext4,
        base,
        layout,
    };
    if args.json {
        context.print_json(&to_json(&args.target, &findings))?;
    } else {
        show(context, &args.target, &findings)?;
    }
    Ok(ExitCode::Done)
}

fn show(context: &mut Context<'_>, target: &Path, findings: &Findings) -> Result<()> {
    let Findings {
        base, layout, os, ..
    } = findings;
    let disk = &layout.disk;
    writeln!(context.out, "{}", target.display())?;
    let published = match base.published_len() {
        len if len == disk.len => String::new(),
        len => format!(" ({} as a file)", HumanBytes(len)),
    };
    writeln!(
        context.out,
        "format    {}, {}{published}",
        base.format(),
        HumanBytes(disk.len)
    )?;
    let is_device = fs::metadata(target).is_ok_and(|found| found.file_type().is_block_device());
    if is_device && base.format() != Format::Raw {
        writeln!(
            context.out,
            "          not unpacked when it was written: nothing boots from this card"
        )?;
    }
    match os {
        Ok(os) => {
            writeln!(context.out, "system    {}", os.describe())?;
            writeln!(
                context.out,
                "mechanism {}, boot partition at {}",
                os.mechanism, os.boot_mount
            )?;
            if os.booted {
                writeln!(
                    context.out,
                    "          has booted, or was edited: no first-boot token"
                )?;
            }
        }
        Err(error) => writeln!(context.out, "system    {error}")?,
    }
    let boards: Vec<&str> = layout.boards().iter().map(|board| board.name()).collect();
    let boards = if boards.is_empty() {
        "none".to_owned()
    } else {
        boards.join(" ")
    };
    writeln!(context.out, "boots     {boards}")?;
    writeln!(context.out, "\n{}", drawing(layout))?;
    writeln!(context.out, "{}", drawn(&partitions(findings), []))?;
    show_node(context, findings)
}

fn show_node(context: &mut Context<'_>, findings: &Findings) -> Result<()> {
    match &findings.marker {
        Some(marker) => {
            writeln!(
                context.out,
                "\nnode      {} (number {} of {}, identity generation {})",
                marker.hostname, marker.number, marker.cluster, marker.generation
            )?;
            writeln!(context.out, "host key  {}", marker.host_key)?;
            match &findings.report {
                Some(report) => write!(context.out, "\nfirst boot\n{report}")?,
                None => writeln!(context.out, "first boot: no report yet")?,
            }
        }
        None => {
            if let Some(reason) = detect::customised(&findings.layout.boot) {
                writeln!(context.out, "\nnot stock: {reason}")?;
            }
        }
    }
    Ok(())
}

/// The partitions to scale, in one line: `|..|BBBBBB|RRRRRRRR|`.
fn drawing(layout: &Layout) -> String {
    let disk = &layout.disk;
    let column = |offset: u64| offset.saturating_mul(DRAWING_WIDTH) / disk.len.max(1);
    let mut cells: Vec<char> = vec!['.'; usize::try_from(DRAWING_WIDTH).unwrap_or(64)];
    for partition in &disk.partitions {
        let mark = char::from_digit(partition.number, 36).unwrap_or('#');
        let (start, end) = (
            column(partition.offset),
            column(partition.offset + partition.len),
        );
        // However small, a partition is drawn.
        for cell in start..end.max(start + 1) {
            if let Some(cell) = usize::try_from(cell)
                .ok()
                .and_then(|cell| cells.get_mut(cell))
            {
                *cell = mark;
            }
        }
    }
    format!("[{}]", cells.into_iter().collect::<String>())
}

fn partitions(findings: &Findings) -> Table {
    let mut table = plain_table();
    table.set_header(["", "type", "file system", "label", "start", "size", "free"]);
    let boot = &findings.layout.boot;
    for partition in &findings.layout.disk.partitions {
        let ext4 = findings
            .ext4
            .iter()
            .find(|(number, _)| *number == partition.number);
        let (kind, label, free) = match ext4 {
            _ if partition.number == boot.partition.number => (
                boot.kind,
                boot.label.clone(),
                HumanBytes(boot.free_len).to_string(),
            ),
            Some((_, ext4)) => (
                "ext4",
                ext4.label.clone(),
                HumanBytes(ext4.free_len).to_string(),
            ),
            None => ("", String::new(), String::new()),
        };
        table.add_row([
            partition.number.to_string(),
            partition.type_id.clone(),
            kind.to_owned(),
            label,
            HumanBytes(partition.offset).to_string(),
            HumanBytes(partition.len).to_string(),
            free,
        ]);
    }
    table
}

fn to_json(target: &Path, findings: &Findings) -> Value {
    let boot = &findings.layout.boot;
    let ext4: Vec<Value> = findings
        .ext4
        .iter()
        .map(|(number, ext4)| json!({ "partition": number, "ext4": ext4 }))
        .collect();
    json!({
        "image": target.display().to_string(),
        "format": findings.base.format().to_string(),
        "published_len": findings.base.published_len(),
        "disk": findings.layout.disk,
        "boot": {
            "partition": boot.partition.number,
            "label": boot.label,
            "kind": boot.kind,
            "cluster_len": boot.cluster_len,
            "free_len": boot.free_len,
        },
        "file_systems": ext4,
        "os": findings.os.as_ref().ok(),
        "problem": findings.os.as_ref().err().map(ToString::to_string),
        "boards": findings.layout.boards(),
        "customised": detect::customised(boot),
        "node": findings.marker,
        "report": findings.report,
    })
}
