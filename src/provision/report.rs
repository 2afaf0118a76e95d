//! `cardmint-report.txt`: what a node says about its first boot.
//!
//! The node writes it to its boot partition, where any computer can read it:
//!
//! ```text
//! cardmint report 1
//! node raspberrypi0
//! instance cardmint-0123456789abcdef0123456789abcdef
//! step hostname ok 0
//! step packages failed 301 no network
//! result failed
//! ```
//!
//! A `step` line holds a name, `ok`, `failed` or `skipped`, whole seconds and,
//! to the end of the line, a detail that may be missing. `result` is the last
//! line; without it the report is not complete.

use std::fmt;

/// Name of the report on the boot partition.
pub const FILE_NAME: &str = "cardmint-report.txt";

/// A node's report, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Hostname.
    pub node: Option<String>,
    /// cloud-init's instance-id, which ties the report to one set of boot files.
    pub instance: Option<String>,
    /// Steps, in the order they were first done.
    pub steps: Vec<Step>,
    /// Whether everything went well; `None` if the report ends early.
    pub ok: Option<bool>,
    /// Lines that could not be read.
    pub unreadable: usize,
}

/// One step of a first boot.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// `hostname`, `packages`, `run-1`…
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: u64,
    /// What there is to say about it; may be empty.
    pub detail: String,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Ok,
    /// Not done; the detail says why.
    Failed,
    /// There was nothing to do.
    Skipped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

impl fmt::Display for Report {
    /// One line for each step, and one for the whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .steps
            .iter()
            .map(|step| step.name.len())
            .max()
            .unwrap_or(0);
        for Step {
            name,
            outcome,
            seconds,
            detail,
        } in &self.steps
        {
            let line = format!("  {outcome:<7}  {name:<width$}  {seconds:>4} s  {detail}");
            writeln!(f, "{}", line.trim_end())?;
        }
        f.write_str(match self.ok {
            Some(true) => "  all went well\n",
            Some(false) => "  not all went well\n",
            None => "  not finished yet\n",
        })
    }
}

/// Why a text is not a report at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The first line is not `cardmint report N`.
    #[error("the file does not begin with `cardmint report`")]
    NotAReport,
    /// A newer cardmint wrote it.
    #[error("the report has version {0}; this cardmint reads version 1")]
    Version(u64),
}

impl Report {
    /// Reads a report, skipping (and counting) lines that make no sense: a
    /// card may have been pulled while the node wrote.
    pub fn parse(text: &str) -> Result<Self, ReportError> {
        let mut lines = text.lines();
        let version = lines
            .next()
            .and_then(|line| line.trim_end().strip_prefix("cardmint report "))
            .and_then(|version| version.parse().ok())
            .ok_or(ReportError::NotAReport)?;
        if version != 1 {
            return Err(ReportError::Version(version));
        }
        let mut report = Self::default();
        // A terminal would obey control characters of a card that lies.
        let lines = lines.map(|line| line.replace(char::is_control, "\u{fffd}"));
        for line in lines
            .map(|line| line.trim_end().to_owned())
            .filter(|line| !line.is_empty())
        {
            if !report.read(&line) {
                report.unreadable += 1;
            }
        }
        Ok(report)
    }

    /// The steps that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Step> {
        self.steps
            .iter()
            .filter(|step| step.outcome == Outcome::Failed)
    }

    /// Takes one line in; whether it made sense.
    fn read(&mut self, line: &str) -> bool {
        match line.split_once(' ') {
            Some(("node", name)) => self.node = Some(name.to_owned()),
            Some(("instance", id)) => self.instance = Some(id.to_owned()),
            Some(("result", "ok")) => self.ok = Some(true),
            Some(("result", "failed")) => self.ok = Some(false),
            Some(("step", rest)) => match step(rest) {
                Some(step) => self.steps.push(step),
                None => return false,
            },
            _ => return false,
        }
        true
    }
}

fn step(text: &str) -> Option<Step> {
    let mut words = text.splitn(4, ' ');
    let name = words.next().filter(|name| !name.is_empty())?;
    let outcome = match words.next()? {
        "ok" => Outcome::Ok,
        "failed" => Outcome::Failed,
        "skipped" => Outcome::Skipped,
        _ => return None,
    };
    Some(Step {
        name: name.to_owned(),
        outcome,
        seconds: words.next()?.parse().ok()?,
        detail: words.next().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: &str = "cardmint report 1\nnode a\ninstance i\nstep hostname ok 0\n\
                          step packages failed 301 no network\nresult failed\n";

    #[test]
    fn reads_what_the_module_documents() {
        let report = Report::parse(SAMPLE).unwrap();
        assert_eq!(report.node.as_deref(), Some("a"));
        assert_eq!(report.ok, Some(false));
        assert_eq!(report.unreadable, 0);
        let failed: Vec<_> = report.failed().collect();
        assert_eq!(failed.len(), 1);
        assert_eq!((failed[0].seconds, &*failed[0].detail), (301, "no network"));
    }

    #[test]
    fn shows_each_step_and_the_whole() {
        assert_eq!(
            Report::parse(SAMPLE).unwrap().to_string(),
            "  ok       hostname     0 s\n  \
             failed   packages   301 s  no network\n  not all went well\n"
        );
        let cut = Report::parse("cardmint report 1\nstep a ok 1 \x1b[2J\n").unwrap();
        assert_eq!(
            cut.to_string(),
            "  ok       a     1 s  \u{fffd}[2J\n  not finished yet\n"
        );
    }

    #[test]
    fn other_files_and_other_versions_are_told_apart() {
        assert_eq!(Report::parse(""), Err(ReportError::NotAReport));
        assert_eq!(Report::parse("hello\n"), Err(ReportError::NotAReport));
        assert_eq!(
            Report::parse("cardmint report 2\n"),
            Err(ReportError::Version(2))
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(cardmint report 1\n)?(\\PC|\n){0,200}") {
            let _ = Report::parse(&text);
        }

        #[test]
        fn a_cut_report_is_still_read(cut in 18..SAMPLE.len()) {
            let report = Report::parse(&SAMPLE[..cut]).unwrap();
            prop_assert!(report.unreadable <= 1);
            prop_assert!(report.ok.is_none() || cut >= SAMPLE.len() - 1);
        }
    }
}
