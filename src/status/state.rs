//! What a node is, of what was found out. Pure.

use super::{Found, Reach, Wanted};
use crate::provision::Report;

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Set up, itself, and watched where it should be.
    Ready,
    /// Nothing answers to its name or address.
    Absent(String),
    /// There, and not done with its first boot.
    Starting(String),
    /// Itself, and it does not let us in.
    LockedOut(String),
    /// Its first boot failed: the steps that did, with what they say.
    Failed(Vec<String>),
    /// Set up, and something is missing all the same.
    Unwell(String),
    /// Whoever answers has another host key; the fingerprint of that.
    Impostor(Option<String>),
}

impl State {
    /// What `found` means for a node that is `wanted` so. `watched` is whether
    /// Prometheus should see it.
    #[must_use]
    pub fn of(wanted: &Wanted, found: &Found, watched: bool) -> Self {
        match &found.reach {
            Reach::NoAddress(why) => Self::Absent(why.clone()),
            Reach::Silent => Self::Absent("nothing answers".to_owned()),
            Reach::NotYet(why) => Self::Starting(why.clone()),
            Reach::LockedOut(why) => Self::LockedOut(why.clone()),
            Reach::Impostor(offered) => Self::Impostor(offered.clone()),
            Reach::In => Self::of_inside(wanted, found, watched),
        }
    }

    fn of_inside(wanted: &Wanted, found: &Found, watched: bool) -> Self {
        let told = found.told.as_ref();
        let report = told.and_then(|told| told.report.as_ref());
        let has = report.and_then(|report| report.instance.as_ref());
        if let Some(has) = has
            && !wanted.instances.is_empty()
            && !wanted.instances.contains(has)
        {
            // What an earlier first boot reported says nothing of this one.
            let other = "it reports of other settings than those of its last card or image";
            return Self::Unwell(other.to_owned());
        }
        match report.map(|report| report.ok) {
            None => return Self::Starting("no report of its first boot yet".to_owned()),
            Some(None) => return Self::Starting("its first boot is not finished".to_owned()),
            Some(Some(false)) => return Self::Failed(report.map_or_else(Vec::new, failed)),
            Some(Some(true)) => {}
        }
        let hostname = told.map_or("", |told| told.hostname.as_str());
        if hostname != wanted.hostname {
            return Self::Unwell(format!("it calls itself {hostname}"));
        }
        match &found.exporter {
            Some(Err(why)) if wanted.exporter => {
                return Self::Unwell(format!("its node exporter does not answer: {why}"));
            }
            _ => {}
        }
        match found.scraped {
            Some(false) if watched => Self::Unwell("Prometheus does not reach it".to_owned()),
            None if watched => Self::Unwell("Prometheus does not answer".to_owned()),
            _ => Self::Ready,
        }
    }

    /// A word or two for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Absent(_) => "not there",
            Self::Starting(_) => "starting",
            Self::LockedOut(_) => "locked out",
            Self::Failed(_) => "first boot failed",
            Self::Unwell(_) => "unwell",
            Self::Impostor(_) => "WRONG IDENTITY",
        }
    }

    /// What there is to say beyond the word.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Ready => String::new(),
            Self::Absent(why) | Self::Starting(why) | Self::LockedOut(why) | Self::Unwell(why) => {
                why.clone()
            }
            Self::Failed(steps) => steps.join("; "),
            Self::Impostor(_) => "another host key than expected".to_owned(),
        }
    }

    /// Whether waiting changes nothing.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Ready | Self::Failed(_) | Self::Impostor(_))
    }
}

fn failed(report: &Report) -> Vec<String> {
    let step = |step: &crate::provision::report::Step| match step.detail.as_str() {
        "" => step.name.clone(),
        detail => format!("{}: {detail}", step.name),
    };
    report.failed().map(step).collect()
}
