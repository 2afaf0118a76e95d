//! A node exporter that the manifest names: a Debian package or a bare program,
//! carried on the boot partition and installed without a network.

use std::io::{Read, Write as _};
use std::sync::{Arc, OnceLock};

/// A control archive is a few KB of text.
const MAX_CONTROL_LEN: u64 = 1 << 20;
/// Memory for unpacking one: `dpkg-deb` makes dictionaries of 8 MiB, or 64 at most.
const XZ_MEMORY_LIMIT: u64 = 96 << 20;
/// The same for zstd, as a power of two.
const ZSTD_WINDOW_LIMIT: u32 = 26;

/// How a node comes to its node exporter.
#[derive(Clone, Debug)]
pub enum Exporter {
    /// The distribution's package, over the network.
    Package,
    /// A file that the card carries.
    Carried(Arc<Carried>),
}

/// The files that a manifest names, by the processors they are for.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    /// For whatever processor a node has.
    pub any: Option<Arc<ExporterFile>>,
    /// For 32-bit systems on a Pi 1 or Zero; runs on every 32-bit system.
    pub armv6: Option<Arc<ExporterFile>>,
    /// For 32-bit systems on a Pi 2 or later.
    pub armv7: Option<Arc<ExporterFile>>,
    /// For 64-bit systems.
    pub arm64: Option<Arc<ExporterFile>>,
}

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExporterKind {
    /// A Debian package (deb(5)).
    Deb,
    /// An ELF program.
    Program,
}

/// What a file can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExporterArch {
    /// A 32-bit ARM system.
    Arm32,
    /// A 64-bit ARM system.
    Arm64,
    /// Any: a package of scripts.
    All,
}

/// A node exporter as a file.
pub struct ExporterFile {
    /// Name of the file, for messages.
    pub name: String,
    /// What it is.
    pub kind: ExporterKind,
    /// What it runs on.
    pub arch: ExporterArch,
    bytes: Vec<u8>,
    packed: OnceLock<Vec<u8>>,
}

impl std::fmt::Debug for ExporterFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, len) = (&self.name, self.bytes.len());
        write!(f, "{name} ({:?}, {:?}, {len} bytes)", self.kind, self.arch)
    }
}

/// Why a file cannot be carried: what is wrong, and what to do.
pub type NotAnExporter = (String, String);

impl ExporterFile {
    /// Takes `bytes` for a package or a program, told by their contents.
    ///
    /// # Errors
    /// Where they are neither, or for another kind of machine.
    pub fn new(name: &str, bytes: Vec<u8>) -> Result<Self, NotAnExporter> {
        let (kind, arch) = if bytes.starts_with(b"!<arch>\n") {
            (ExporterKind::Deb, arch_of_deb(name, &bytes)?)
        } else if bytes.starts_with(b"\x7fELF") {
            (ExporterKind::Program, arch_of_elf(name, &bytes)?)
        } else {
            return Err((
                format!("{name} is neither a Debian package nor a program for Linux"),
                "name a .deb, or the `node_exporter` within the archive that prometheus.io \
                 publishes"
                    .to_owned(),
            ));
        };
        Ok(Self {
            name: name.to_owned(),
            kind,
            arch,
            bytes,
            packed: OnceLock::new(),
        })
    }

    /// What stands on the boot partition: a package as it is, a program
    /// compressed by gzip, which every system can unpack.
    #[must_use]
    pub fn packed(&self) -> &[u8] {
        match self.kind {
            ExporterKind::Deb => &self.bytes,
            ExporterKind::Program => self.packed.get_or_init(|| gzip(&self.bytes)),
        }
    }
}

/// The same bytes for the same program: flate2 writes no time and no name.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    debug_assert!(written.is_ok(), "writing to a Vec cannot fail");
    written.unwrap_or_default()
}

/// ELF, figure 1-3: class at 4, byte order at 5, machine at 18.
fn arch_of_elf(name: &str, bytes: &[u8]) -> Result<ExporterArch, NotAnExporter> {
    const EM_ARM: u16 = 40;
    const EM_AARCH64: u16 = 183;
    let machine = match bytes {
        [..] if bytes.len() < 20 => None,
        _ if bytes[5] != 1 => None,
        _ => Some(u16::from_le_bytes([bytes[18], bytes[19]])),
    };
    match machine {
        Some(EM_ARM) => Ok(ExporterArch::Arm32),
        Some(EM_AARCH64) => Ok(ExporterArch::Arm64),
        _ => Err(other_machine(name, "a program for another kind of machine")),
    }
}

fn arch_of_deb(name: &str, bytes: &[u8]) -> Result<ExporterArch, NotAnExporter> {
    let control = control_of(bytes).ok_or_else(|| {
        (
            format!("{name} is a damaged Debian package"),
            "`dpkg-deb --info` says what is wrong with it".to_owned(),
        )
    })?;
    let value = |key: &str| {
        let mut lines = control.lines();
        lines.find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()))
    };
    match value("Architecture") {
        Some("armhf") => Ok(ExporterArch::Arm32),
        Some("arm64") => Ok(ExporterArch::Arm64),
        Some("all") => Ok(ExporterArch::All),
        Some(other) => Err(other_machine(name, &format!("a package for {other}"))),
        None => Err(other_machine(name, "a package for no architecture")),
    }
}

fn other_machine(name: &str, what: &str) -> NotAnExporter {
    (
        format!("{name} is {what}"),
        "a Pi takes those for arm64, armhf or, as a program, armv6 and armv7".to_owned(),
    )
}

/// The control file of a Debian package (deb(5)): in the tar archive that is the
/// second member.
fn control_of(bytes: &[u8]) -> Option<String> {
    let (_, rest) = member(bytes.get(8..)?)?;
    let ((name, content), _) = member(rest)?;
    let reader: Box<dyn Read + '_> = match name.trim_end_matches('/') {
        "control.tar" => Box::new(content),
        "control.tar.gz" => Box::new(flate2::read::GzDecoder::new(content)),
        "control.tar.xz" => {
            let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY_LIMIT, 0).ok()?;
            Box::new(xz2::read::XzDecoder::new_stream(content, stream))
        }
        "control.tar.zst" => {
            let mut decoder = zstd::Decoder::new(content).ok()?;
            decoder.window_log_max(ZSTD_WINDOW_LIMIT).ok()?;
            Box::new(decoder)
        }
        _ => return None,
    };
    let mut archive = tar::Archive::new(reader.take(MAX_CONTROL_LEN));
    for entry in archive.entries().ok()? {
        let entry = entry.ok()?;
        let is_control = entry
            .path()
            .is_ok_and(|path| path.file_name().is_some_and(|name| name == "control"));
        if is_control {
            let mut text = String::new();
            // A sparse file may be longer than its archive.
            entry.take(MAX_CONTROL_LEN).read_to_string(&mut text).ok()?;
            return Some(text);
        }
    }
    None
}

/// The first member of an archive (ar(5)) and what follows it.
#[expect(clippy::type_complexity, reason = "name and content, and the rest")]
fn member(bytes: &[u8]) -> Option<((&str, &[u8]), &[u8])> {
    const HEADER_LEN: usize = 60;
    let header = bytes.get(..HEADER_LEN)?;
    let field =
        |range: std::ops::Range<usize>| Some(std::str::from_utf8(&header[range]).ok()?.trim());
    let (name, len) = (field(0..16)?, field(48..58)?.parse::<usize>().ok()?);
    let end = HEADER_LEN.checked_add(len)?;
    let content = bytes.get(HEADER_LEN..end)?;
    // Members begin at even offsets.
    let rest = bytes.get(end.checked_add(len % 2)?..).unwrap_or_default();
    Some(((name, content), rest))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The head of a program, as far as anybody looks at it.
    pub(crate) fn elf(machine: u8) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(18, 0);
        bytes.extend([machine, 0, 1, 0]);
        bytes
    }

    /// A package with nothing in it but its control file.
    pub(crate) fn deb(arch: &str) -> Vec<u8> {
        let control = format!("Package: prometheus-node-exporter\nArchitecture: {arch}\n");
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(control.len() as u64);
        tar.append_data(&mut header, "./control", control.as_bytes())
            .unwrap();
        package("control.tar.gz", &gzip(&tar.into_inner().unwrap()))
    }

    fn package(name: &str, control: &[u8]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in [("debian-binary", &b"2.0\n"[..]), (name, control)] {
            let len = content.len();
            bytes.extend(
                format!(
                    "{name:<16}{:<12}{:<6}{:<6}{:<8}{len:<10}`\n",
                    0, 0, 0, 100_644
                )
                .bytes(),
            );
            bytes.extend(content);
            bytes.extend(std::iter::repeat_n(b'\n', len % 2));
        }
        bytes
    }

    #[test]
    fn programs_are_told_by_their_header() {
        let arch =
            |machine| ExporterFile::new("x", elf(machine)).map(|file| (file.kind, file.arch));
        assert_eq!(arch(40), Ok((ExporterKind::Program, ExporterArch::Arm32)));
        assert_eq!(arch(183), Ok((ExporterKind::Program, ExporterArch::Arm64)));
        let (message, _) = arch(62).unwrap_err();
        assert_eq!(message, "x is a program for another kind of machine");
        assert!(ExporterFile::new("x", b"\x7fELF".to_vec()).is_err());
        assert!(ExporterFile::new("x", b"#!/bin/sh\n".to_vec()).is_err());
    }

    #[test]
    fn packages_say_what_they_are_for() {
        let arch = |name| ExporterFile::new("x.deb", deb(name)).map(|file| (file.kind, file.arch));
        assert_eq!(arch("arm64"), Ok((ExporterKind::Deb, ExporterArch::Arm64)));
        assert_eq!(arch("armhf"), Ok((ExporterKind::Deb, ExporterArch::Arm32)));
        assert_eq!(arch("all"), Ok((ExporterKind::Deb, ExporterArch::All)));
        assert_eq!(arch("amd64").unwrap_err().0, "x.deb is a package for amd64");
        let cut = deb("arm64")[..90].to_vec();
        assert_eq!(
            ExporterFile::new("x.deb", cut).unwrap_err().0,
            "x.deb is a damaged Debian package"
        );
    }

    #[test]
    fn a_program_is_carried_compressed_and_a_package_as_it_is() {
        let file = ExporterFile::new("x", elf(183)).unwrap();
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(file.packed())
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, elf(183));
        let package = ExporterFile::new("x.deb", deb("all")).unwrap();
        assert_eq!(package.packed(), deb("all"));
    }

    /// A package whose control file is a hole of 2 GiB (tar(5), GNU sparse).
    #[test]
    fn a_control_file_that_is_a_hole_takes_no_memory() {
        let mut header = tar::Header::new_gnu();
        header.set_path("control").unwrap();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_size(0);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.realsize.copy_from_slice(b"20000000000\0");
        gnu.sparse[0].offset.copy_from_slice(b"20000000000\0");
        gnu.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
        header.set_cksum();
        let mut control = header.as_bytes().to_vec();
        control.resize(3 * 512, 0);
        let bytes = package("control.tar", &control);
        assert!(ExporterFile::new("x.deb", bytes).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            for head in [&b"!<arch>\n"[..], b"\x7fELF", b""] {
                let _ = ExporterFile::new("x", [head, &tail].concat());
            }
        }

        #[test]
        fn a_damaged_package_is_judged_without_panic(at in 0usize..400, to in any::<u8>()) {
            let mut bytes = deb("arm64");
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = ExporterFile::new("x", bytes);
        }
    }
}
