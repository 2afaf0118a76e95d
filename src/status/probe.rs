//! What a node says of itself: `probe.sh`, and what it prints.

use crate::provision::Report;

/// Sent to the node's shell.
pub(super) const SCRIPT: &str = include_str!("probe.sh");

/// What a node said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Told {
    /// The kernel's hostname.
    pub hostname: String,
    /// Seconds since it booted.
    pub uptime: Option<u64>,
    /// Bytes of the root file system.
    pub root_len: Option<u64>,
    /// Bytes of it that are free.
    pub root_free: Option<u64>,
    /// Temperature of the processor in thousandths of a degree Celsius.
    pub millidegrees: Option<i64>,
    /// The board, by its own word.
    pub model: Option<String>,
    /// What its first boot reported, as far as it got.
    pub report: Option<Report>,
}

impl Told {
    /// Reads what the script printed; `None` where it did not come to its end.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut told = Self::default();
        let mut report = String::new();
        let mut is_whole = false;
        for line in text.lines() {
            let (word, value) = line.split_once(' ').unwrap_or((line, ""));
            // A terminal would obey control characters.
            let printable = || value.replace(char::is_control, "\u{fffd}");
            match word {
                "hostname" => told.hostname = printable(),
                "uptime" => told.uptime = value.parse().ok(),
                "root" => (told.root_len, told.root_free) = sizes(value),
                "temperature" => told.millidegrees = value.parse().ok(),
                "model" => told.model = Some(printable()),
                "report" => {
                    report.push_str(value);
                    report.push('\n');
                }
                "end" => is_whole = true,
                _ => {}
            }
        }
        told.report = Report::parse(&report).ok();
        is_whole.then_some(told)
    }
}

/// Block length, blocks, and free blocks, as bytes in all and free.
fn sizes(value: &str) -> (Option<u64>, Option<u64>) {
    let mut words = value.split(' ').map(|word| word.parse::<u64>().ok());
    let mut next = || words.next().flatten();
    let (block, all, free) = (next(), next(), next());
    let bytes = |blocks: Option<u64>| block?.checked_mul(blocks?);
    (bytes(all), bytes(free))
}
