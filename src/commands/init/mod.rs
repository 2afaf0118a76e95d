//! `cardmint init`: a few questions, then `cluster.toml` and `cluster.key`.

mod questions;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use secrecy::{ExposeSecret as _, SecretString};

use super::workspace::{LOGIN_KEY, MANIFEST, public_half_of};
use super::{Context, Refused, Usage, bases};
use crate::base::catalogue::ImageName;
use crate::cli::InitArgs;
use crate::cluster::manifest::{ManifestErrors, Nobody, Problem};
use crate::cluster::new::NewManifest;
use crate::cluster::node::ImageSource;
use crate::cluster::{Cluster, ClusterKey, KEY_FILE, RECORD_FILE, new_login_key};
use crate::exit::ExitCode;
use crate::ui::ask;
use crate::whole;

/// File with the Wi-Fi key that `init` derives.
const PSK_FILE: &str = "wifi.psk";
/// Characters in the name of a cluster, which is read as a hostname is (RFC 1123, 2.1).
const MAX_NAME_LEN: usize = 63;

pub(super) fn run(context: &mut Context<'_>, args: &InitArgs) -> Result<ExitCode> {
    // As short as it can be shown: `-C x` and `.` are `x`.
    let dir: PathBuf = context.path(&args.dir).components().collect();
    refuse_existing(&dir)?;
    let name = cluster_name(&dir)?;
    let mut answers = defaults(args, &name, &dir)?;
    let asks = !args.yes && ask::can_ask();
    let mut given = answers.clone();
    if asks && args.count.is_none() {
        // A hostname without a number is right for a single node.
        given.count = 1;
    }
    // What was typed may be wrong; better said before anything is written than at the
    // first plan.
    let problems = problems_of(&given, &dir)?;
    if !problems.is_empty() {
        let path = dir.join(MANIFEST);
        bail!(ManifestErrors { path, problems });
    }
    let psk = match asks {
        true => questions::ask_all(args, &dir, &mut answers)?,
        false => None,
    };
    whole::create_dir_all(&dir, 0o777).with_context(|| format!("creating {}", dir.display()))?;
    if answers.authorized_keys.is_empty() {
        answers
            .authorized_keys
            .push(login_key(context, &dir, &name)?);
    }
    if let Some(psk) = psk {
        write_psk(&dir.join(PSK_FILE), &psk)?;
    }
    make_key(context, &dir)?;
    // Last: what makes a directory a cluster. What an interrupted run leaves of the
    // rest, the next one goes on with.
    let manifest = answers.render();
    let mode = match answers.password_hash {
        Some(_) => 0o600,
        None => 0o644,
    };
    write_new(&dir.join(MANIFEST), &manifest, mode)?;
    // With the files that it names now.
    Cluster::load(&dir.join(MANIFEST), &mut Nobody)?;
    tell_next(context, args, &dir, &answers.image)?;
    Ok(ExitCode::Done)
}

/// What keeps the manifest from being read, or its image from being found. Files that are
/// not made yet are left out.
fn problems_of(answers: &NewManifest, dir: &Path) -> Result<Vec<Problem>> {
    let mut draft = answers.clone();
    if draft.authorized_keys.is_empty() {
        draft.authorized_keys.push(new_login_key("draft")?.public);
    }
    if let Some(wifi) = &mut draft.wifi {
        wifi.psk_file = None;
    }
    let cluster = match Cluster::parse(&draft.render(), dir, &mut Nobody) {
        Ok(cluster) => cluster,
        Err(problems) => return Ok(problems),
    };
    let image = cluster.nodes.first().map(|node| &node.image.source);
    Ok(match image {
        Some(ImageSource::Path(path)) if bases::is_missing(path) => vec![Problem {
            line: 0,
            column: 0,
            message: format!("there is no image {}", draft.image),
            help: Some(
                "give the path of a Raspberry Pi OS Lite image, or a name such as \
                 raspios-lite-arm64, which is downloaded"
                    .to_owned(),
            ),
        }],
        _ => Vec::new(),
    })
}

/// A manifest is somebody's work, and a record tells of cards.
fn refuse_existing(dir: &Path) -> Result<()> {
    for name in [MANIFEST, RECORD_FILE] {
        if dir.join(name).exists() {
            bail!(Refused(format!(
                "{} is there already; `init` replaces nothing. Choose another directory",
                dir.join(name).display()
            )));
        }
    }
    Ok(())
}

/// Makes the key. One that no cluster has used stays: it cannot be made again.
fn make_key(context: &mut Context<'_>, dir: &Path) -> Result<()> {
    let path = dir.join(KEY_FILE);
    if path.exists() {
        ClusterKey::load(dir)?;
        return context.tell(format_args!(
            "{} is there already, and is kept.",
            path.display()
        ));
    }
    ClusterKey::create(dir)?;
    Ok(())
}

fn cluster_name(dir: &Path) -> Result<String> {
    let dir = std::path::absolute(dir).with_context(|| dir.display().to_string())?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let name = match name.trim_matches('-') {
        "" => "cluster".to_owned(),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => format!("cluster-{number}"),
        name => name.to_owned(),
    };
    let short: String = name.chars().take(MAX_NAME_LEN).collect();
    Ok(short.trim_end_matches('-').to_owned())
}

fn defaults(args: &InitArgs, name: &str, dir: &Path) -> Result<NewManifest> {
    let image = match &args.image {
        Some(image) => image_path(image, dir)?,
        None => match find_image(dir).or_else(|| find_image(Path::new("."))) {
            Some(path) => image_path(&path.to_string_lossy(), dir)?,
            None => "raspios-lite-arm64".to_owned(),
        },
    };
    let authorized_keys = if args.keys.is_empty() {
        own_keys()
    } else {
        args.keys
            .iter()
            .map(|path| key_path(path))
            .collect::<Result<_>>()?
    };
    Ok(NewManifest {
        name: name.to_owned(),
        hostname: args
            .hostname
            .clone()
            .unwrap_or_else(|| "raspberrypi{n}".to_owned()),
        count: args.count.unwrap_or(4),
        image,
        user: args.user.clone().unwrap_or_else(|| "pi".to_owned()),
        authorized_keys,
        password_hash: None,
        wifi: None,
    })
}

/// The manifest reads paths from its own directory, the command line from the
/// current one.
fn absolute_if_file(image: &str) -> Result<String> {
    let path = Path::new(image);
    // A directory may well be called as an image is.
    if !path.exists() || path.is_dir() {
        return Ok(image.to_owned());
    }
    let path = std::path::absolute(path).with_context(|| image.to_owned())?;
    match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => bail!(Usage(format!(
            "{}: a manifest is UTF-8 text and cannot name this path; rename it, or move it into \
             the cluster's directory under another name",
            path.display()
        ))),
    }
}

/// As [`absolute_if_file`]; what lies in the cluster's directory moves with it.
fn image_path(image: &str, dir: &Path) -> Result<String> {
    let found = absolute_if_file(image)?;
    let dir = std::path::absolute(dir).with_context(|| dir.display().to_string())?;
    let inside = Path::new(&found).strip_prefix(dir).ok();
    Ok(match inside.and_then(Path::to_str) {
        Some(inside) if inside.contains(['/', '.']) => inside.to_owned(),
        _ => found,
    })
}

fn key_path(path: &Path) -> Result<String> {
    if !path.exists() {
        bail!(Usage(format!("there is no key file {}", path.display())));
    }
    absolute_if_file(&path.to_string_lossy())
}

/// An image that lies in a directory, newest name first.
fn find_image(dir: &Path) -> Option<PathBuf> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("raspios") && is_image_name(name))
        .collect();
    names.sort();
    names.pop().map(|name| dir.join(name))
}

/// Images are published with digests, signatures and torrents beside them.
fn is_image_name(name: &str) -> bool {
    const ENDS: [&str; 6] = [".img", ".img.xz", ".img.gz", ".img.zst", ".img.bz2", ".zip"];
    ENDS.iter().any(|end| name.ends_with(end))
}

/// The user's own public keys, as `~` paths: the manifest may be shared.
fn own_keys() -> Vec<String> {
    let Some(home) = std::env::home_dir() else {
        return Vec::new();
    };
    ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"]
        .into_iter()
        .filter(|name| home.join(".ssh").join(name).is_file())
        .map(|name| format!("~/.ssh/{name}"))
        .collect()
}

/// The cluster's own key pair to log in with, made if need be; returns the path
/// of its public half.
fn login_key(context: &mut Context<'_>, dir: &Path, cluster: &str) -> Result<String> {
    let public = format!("{LOGIN_KEY}.pub");
    let private = dir.join(LOGIN_KEY);
    if !dir.join(&public).exists() {
        let half = if private.exists() {
            public_half_of(&private)?
        } else {
            let key = new_login_key(&format!("cardmint@{cluster}"))?;
            write_new(&private, key.private.expose_secret(), 0o600)?;
            context.tell(format_args!(
                "No SSH key was found, so one was made for this cluster: {}",
                private.display()
            ))?;
            key.public
        };
        write_new(&dir.join(&public), &format!("{half}\n"), 0o644)?;
    }
    // A path, not a bare word: the manifest tells files from keys by their look.
    Ok(format!("./{public}"))
}

/// Writes the Wi-Fi key for its owner alone. One that is there may be somebody's, or
/// what an interrupted run left.
fn write_psk(path: &Path, psk: &SecretString) -> Result<()> {
    let line = SecretString::from(format!("{}\n", psk.expose_secret()));
    if fs::read_to_string(path).is_ok_and(|found| found == line.expose_secret()) {
        return Ok(());
    }
    if path.exists() {
        bail!(Refused(format!(
            "{} is there already, with another key; nothing is replaced. Move it away, or say no \
             to Wi-Fi and name it in {MANIFEST} yourself",
            path.display()
        )));
    }
    write_new(path, line.expose_secret(), 0o600)
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    whole::write_new(path, text.as_bytes(), mode)
        .with_context(|| format!("writing {}", path.display()))
}

fn tell_next(context: &mut Context<'_>, args: &InitArgs, dir: &Path, image: &str) -> Result<()> {
    context.tell(format_args!("Made {MANIFEST} and {KEY_FILE}."))?;
    context.tell(format_args!(
        "Keep a copy of {}: every card's identity is derived from it.",
        dir.join(KEY_FILE).display()
    ))?;
    if image.parse::<ImageName>().is_ok() {
        context.tell(format_args!(
            "{image} is downloaded when it is first needed; `cardmint images fetch` does it now."
        ))?;
    }
    let shown = crate::card::shell_word(dir);
    let next = match (context.dir == Path::new("."), args.dir == Path::new(".")) {
        (true, true) => "cardmint plan".to_owned(),
        (true, false) => format!("cd {shown} && cardmint plan"),
        (false, _) => format!("cardmint -C {shown} plan"),
    };
    context.tell(format_args!("\nNext: {next}"))
}
