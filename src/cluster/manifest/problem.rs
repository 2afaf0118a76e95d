//! Problems of a manifest, all of them at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// One problem, at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    /// Without its place, which may be no file's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// All problems of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestErrors {
    /// The manifest.
    pub path: PathBuf,
    /// The problems, in order of their place.
    pub problems: Vec<Problem>,
}

impl ManifestErrors {
    /// The one problem that nothing can be read.
    pub(super) fn whole(path: &Path, message: String, help: &str) -> Self {
        let help = Some(help.to_owned());
        let problem = Problem {
            line: 0,
            column: 0,
            message,
            help,
        };
        Self {
            path: path.to_owned(),
            problems: vec![problem],
        }
    }
}

impl std::error::Error for ManifestErrors {}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.problems.len() {
            1 => writeln!(f, "one problem in the manifest; nothing was written")?,
            n => writeln!(f, "{n} problems in the manifest; nothing was written")?,
        }
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            match problem.line {
                0 => write!(f, "{newline}{path}: {problem}")?,
                line => write!(f, "{newline}{path}:{line}: {problem}")?,
            }
        }
        Ok(())
    }
}
