//! Exit codes, and how the outcomes of many nodes become one.

/// What the process tells its caller. The numbers are part of the interface:
/// `docs/reference.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitCode {
    /// Everything asked for is done.
    Done,
    /// Wrong usage, or a manifest with problems.
    Usage,
    /// Refused for safety; nothing was changed.
    Refused,
    /// Verification found a difference.
    Different,
    /// Something failed.
    Failed,
    /// Interrupted; nothing is half-published.
    Interrupted,
}

impl ExitCode {
    /// The number itself.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Different => 4,
            Self::Interrupted => 130,
        }
    }

    /// The code of many outcomes: the gravest of them.
    #[must_use]
    pub fn merge(codes: impl IntoIterator<Item = Self>) -> Self {
        codes.into_iter().max().unwrap_or(Self::Done)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.number().into()
    }
}

#[cfg(test)]
mod tests {
    use super::ExitCode::{self, Different, Done, Failed, Interrupted, Refused};

    #[test]
    fn the_gravest_outcome_wins() {
        assert_eq!(ExitCode::merge([]), Done);
        assert_eq!(ExitCode::merge([Done, Done]), Done);
        assert_eq!(ExitCode::merge([Done, Different, Refused]), Different);
        assert_eq!(ExitCode::merge([Failed, Different]), Failed);
        assert_eq!(ExitCode::merge([Failed, Interrupted, Done]), Interrupted);
    }
}
