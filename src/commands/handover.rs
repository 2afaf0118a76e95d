//! `cardmint handover`: what the operator needs once the cards are made. `build`
//! and `flash` write it as well.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::workspace::{Workspace, write_whole};
use super::{Context, Usage};
use crate::cli::HandoverArgs;
use crate::cluster::identity::IdentityError;
use crate::cluster::{HostKey, Record};
use crate::exit::ExitCode;
use crate::handover::{FILES, Handover, Host};
use crate::report::event::{Event, Sink as _};
use crate::whole::{self, folder_of};

/// Where the hand-over lies, and what is new in it.
pub(super) struct Written {
    pub(super) folder: PathBuf,
    /// Each file, and whether its contents changed.
    files: Vec<(&'static str, bool)>,
    removed: Vec<&'static str>,
    /// Why there is no `ssh_config`.
    untold: Option<String>,
}

pub(super) fn run(context: &mut Context<'_>, args: &HandoverArgs) -> Result<ExitCode> {
    let workspace = Workspace::open_unasked(context)?;
    let written = write(&workspace)?;
    let folder = context.path("handover");
    if args.json {
        let state = |(file, changed): &(&str, bool)| json!({ "file": file, "changed": changed });
        let report = json!({
            "cluster": workspace.cluster.name,
            "handover": written.folder.display().to_string(),
            "files": written.files.iter().map(state).collect::<Vec<_>>(),
            "removed": written.removed,
        });
        context.print_json(&report)?;
        return written.done();
    }
    for (file, changed) in &written.files {
        let state = if *changed { "written  " } else { "unchanged" };
        context.tell(format_args!("{state}  {}", folder.join(file).display()))?;
    }
    for file in &written.removed {
        context.tell(format_args!("removed    {}", folder.join(file).display()))?;
    }
    if written.untold.is_some() {
        return written.done();
    }
    let Some(first) = workspace.cluster.nodes.first() else {
        return Ok(ExitCode::Done);
    };
    let folder = folder.display();
    context.tell(format_args!(
        "\n  ssh -F {folder}/ssh_config {}\n  ansible -i {folder}/inventory.yml all -m ping\n  \
         cardmint status --wait 10m",
        first.hostname
    ))?;
    Ok(ExitCode::Done)
}

impl Written {
    fn done(self) -> Result<ExitCode> {
        match self.untold {
            Some(problem) => Err(Usage(problem).into()),
            None => Ok(ExitCode::Done),
        }
    }
}

/// Writes the hand-over beside something else, which counts also where there cannot be
/// an `ssh_config`; returns its folder.
pub(super) fn write_beside(context: &Context<'_>, workspace: &Workspace) -> Result<PathBuf> {
    let written = write(workspace)?;
    if let Some(message) = &written.untold {
        context.progress.send(Event::Noticed { message });
    }
    Ok(written.folder)
}

/// Writes the hand-over for all nodes of the cluster. What is there already and
/// is right is left alone, so that its time tells when it changed.
fn write(workspace: &Workspace) -> Result<Written> {
    let folder = workspace.dir.join("handover");
    whole::create_dir_all(&folder, 0o777)
        .with_context(|| format!("creating {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let login_key = workspace.login_key()?;
    // As it is by now: another process may have made a node, or given it a new identity.
    let record = Record::load(&workspace.dir)?;
    let handover = Handover {
        cluster: &workspace.cluster,
        hosts: hosts(workspace, &record)?,
        folder: &folder,
        identity_file: login_key.as_deref(),
    };
    tidy(&folder);
    let mut files = Vec::new();
    for file in handover.files(&workspace.templates)? {
        let path = folder.join(file.path);
        whole::create_dir_all(folder_of(&path), 0o777)
            .with_context(|| format!("creating {}", folder_of(&path).display()))?;
        let changed = fs::read(&path).ok().as_deref() != Some(file.text.as_bytes());
        if changed {
            write_whole(&path, &file.text)?;
        }
        files.push((file.path, changed));
    }
    let mut removed = Vec::new();
    for name in FILES {
        if !files.iter().any(|(file, _)| *file == name) && remove(&folder.join(name))? {
            removed.push(name);
        }
    }
    let untold = handover.ssh_config().err();
    let untold = untold.map(|problem| format!("no ssh_config was made: {problem}"));
    Ok(Written {
        untold,
        folder,
        files,
        removed,
    })
}

/// Removes what a crash left, also of what is right already, or no longer applies.
fn tidy(folder: &Path) {
    let files = || FILES.map(Path::new).into_iter();
    let inner: BTreeSet<&Path> = files().filter_map(Path::parent).collect();
    for inner in inner {
        whole::tidy(&folder.join(inner), |name| {
            files().any(|file| file.parent() == Some(inner) && file.file_name() == Some(name))
        });
    }
}

fn hosts<'w>(workspace: &'w Workspace, record: &'w Record) -> Result<Vec<Host<'w>>, IdentityError> {
    let host = |node| {
        let key = HostKey::derive(&workspace.key, node, record.generation(node.number))?;
        Ok(Host::new(node, key, record.card(node.number)))
    };
    workspace.cluster.nodes.iter().map(host).collect()
}

/// How to log in with what lies in `folder`, as a further line; nothing where it does
/// not say how.
pub(super) fn login(folder: &Path, hostname: &str) -> String {
    let config = folder.join("ssh_config");
    match config.exists() {
        true => format!("\n  ssh -F {} {hostname}", crate::card::shell_word(&config)),
        false => String::new(),
    }
}

/// Takes away what no longer applies; whether it was there.
fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("removing {}", path.display())),
    }
}
