//! The files that first boot puts on a node's root file system, whichever way.

use base64::Engine as _;
use minijinja::context;
use minijinja::value::{Serde, Value};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::{ProvisionError, Settings, Templates, monitoring};
use crate::cluster::node::NodeFile;
use crate::layout::Mechanism;

const LIB: &str = "/usr/local/lib/cardmint";
const HOST_KEY: &str = "cardmint_host_ed25519_key";
const SSHD_CONF: &str = "10-cardmint.conf";

/// A file of the root file system, as templates see it.
#[derive(Serialize)]
pub(super) struct RootFile {
    pub(super) path: String,
    /// Four octal digits.
    pub(super) mode: String,
    pub(super) base64: String,
}

impl RootFile {
    pub(super) fn new(path: impl Into<String>, mode: u32, bytes: &[u8]) -> Self {
        Self {
            path: path.into(),
            mode: format!("{mode:04o}"),
            base64: base64(bytes),
        }
    }
}

/// A file that can be placed only when its owner is there: it waits under
/// [`LIB`] until `finish` takes it.
#[derive(Serialize)]
pub(super) struct OwnedFile {
    path: String,
    mode: String,
    folder: String,
    /// For chown: `user:` takes the user's own group.
    owner: String,
    /// Folders between a home and the file, which belong to the owner as well.
    own_folders: Vec<String>,
}

/// Everything for the root file system.
pub(super) struct RootFiles {
    pub(super) files: Vec<RootFile>,
    /// Those of the manifest that wait for nobody. cloud-init gives up at the first file
    /// that it cannot write, so that these go last.
    pub(super) own: Vec<RootFile>,
    pub(super) wifi_nm: Option<RootFile>,
    pub(super) wifi_wpa: Option<RootFile>,
    pub(super) ethernet_nm: Option<RootFile>,
}

impl RootFiles {
    /// Renders all of them; `base` holds the values that every template knows.
    pub(super) fn render(
        settings: &Settings<'_>,
        base: &Value,
        templates: &Templates,
    ) -> Result<Self, ProvisionError> {
        let node = settings.node;
        let render = |name| templates.render(name, base);
        let profile = |name, path: &str| -> Result<_, ProvisionError> {
            Ok(Some(RootFile::new(path, 0o600, render(name)?.as_bytes())))
        };
        let mut all = Self {
            files: ssh(settings, &render("sshd.conf")?),
            own: Vec::new(),
            wifi_nm: None,
            wifi_wpa: None,
            ethernet_nm: None,
        };
        if node.wifi.is_some() {
            all.wifi_nm = profile("wifi.nmconnection", &connection("wifi"))?;
            all.wifi_wpa = profile(
                "wpa_supplicant.conf",
                "/etc/wpa_supplicant/wpa_supplicant.conf",
            )?;
        }
        if let Some(wired) = settings.wired() {
            all.ethernet_nm = profile("ethernet.nmconnection", &connection(&wired.interface))?;
        }
        all.files
            .extend(monitoring::root_files(settings, base, templates)?);
        let (owned, plain): (Vec<_>, Vec<_>) = node
            .first_boot
            .files
            .iter()
            .partition(|file| waits_for_owner(file));
        let own = |file: &&NodeFile| RootFile::new(&file.path, file.mode, &file.bytes);
        all.own = plain.iter().map(own).collect();
        for (index, file) in owned.iter().enumerate() {
            let staged = format!("{LIB}/files/{}", index + 1);
            all.files.push(RootFile::new(staged, 0o600, &file.bytes));
        }
        all.files
            .extend(scripts(settings, base, templates, &plain, &owned)?);
        Ok(all)
    }
}

/// Host key and sshd settings, twice: `finish` restores them from the second
/// if the image's own first boot took the first away.
fn ssh(settings: &Settings<'_>, sshd_conf: &str) -> Vec<RootFile> {
    let key = &settings.identity.host_key;
    let public = format!("{}\n", key.public);
    let mut files = Vec::new();
    for (keys, conf) in [
        ("/etc/ssh".to_owned(), "/etc/ssh/sshd_config.d".to_owned()),
        (format!("{LIB}/ssh"), format!("{LIB}/ssh")),
    ] {
        let private = key.private.expose_secret();
        files.push(RootFile::new(
            format!("{keys}/{HOST_KEY}"),
            0o600,
            private.as_bytes(),
        ));
        files.push(RootFile::new(
            format!("{keys}/{HOST_KEY}.pub"),
            0o644,
            public.as_bytes(),
        ));
        // Last: sshd does not start with a HostKey that is not there.
        files.push(RootFile::new(
            format!("{conf}/{SSHD_CONF}"),
            0o644,
            sshd_conf.as_bytes(),
        ));
    }
    files
}

fn scripts(
    settings: &Settings<'_>,
    base: &Value,
    templates: &Templates,
    own: &[&NodeFile],
    owned: &[&NodeFile],
) -> Result<Vec<RootFile>, ProvisionError> {
    let user = &settings.node.user.name;
    let owned: Vec<_> = owned.iter().map(|file| owned_file(file, user)).collect();
    let own_files: Vec<_> = own.iter().map(|file| file.path.clone()).collect();
    let context = context! { own_files, owned => Serde(owned), ..base.clone() };
    let finish = templates.render("finish.sh", &context)?;
    let expand = templates.render("expand.sh", base)?;
    let unit = templates.render("finish.service", base)?;
    let mut files = vec![
        RootFile::new(format!("{LIB}/finish"), 0o700, finish.as_bytes()),
        RootFile::new("/usr/local/sbin/cardmint-expand", 0o755, expand.as_bytes()),
        RootFile::new(
            "/etc/systemd/system/cardmint-finish.service",
            0o644,
            unit.as_bytes(),
        ),
    ];
    if settings.os.mechanism == Mechanism::CloudInit {
        let after = templates.render("user-data-after.yaml", base)?;
        files.push(RootFile::new(
            format!("{LIB}/user-data"),
            0o644,
            after.as_bytes(),
        ));
    }
    Ok(files)
}

/// A home made too early keeps the account from being moved into it.
fn waits_for_owner(file: &NodeFile) -> bool {
    file.owner.is_some() || file.path.starts_with("/home/")
}

fn owned_file(file: &NodeFile, user: &str) -> OwnedFile {
    let owner = match file.owner.as_deref() {
        Some(owner) if owner.contains(':') => owner.to_owned(),
        Some(owner) => format!("{owner}:"),
        None => "root:".to_owned(),
    };
    let folder = match file.path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    };
    let home = format!("/home/{user}");
    let mut own_folders = Vec::new();
    if owner.split(':').next() == Some(user)
        && let Some(inner) = folder.strip_prefix(&format!("{home}/"))
    {
        let mut path = home;
        for name in inner.split('/').filter(|name| !name.is_empty()) {
            path = format!("{path}/{name}");
            own_folders.push(path.clone());
        }
    }
    OwnedFile {
        path: file.path.clone(),
        mode: format!("{:04o}", file.mode),
        folder: folder.to_owned(),
        owner,
        own_folders,
    }
}

fn connection(name: &str) -> String {
    format!("/etc/NetworkManager/system-connections/cardmint-{name}.nmconnection")
}

/// Base64 for a template.
pub(super) fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_below_a_home_belong_to_its_user() {
        let file = NodeFile {
            path: "/home/alice/.config/a/b".to_owned(),
            bytes: [].into(),
            mode: 0o600,
            owner: Some("alice".to_owned()),
        };
        let owned = owned_file(&file, "alice");
        assert_eq!(owned.owner, "alice:");
        assert_eq!(
            owned.own_folders,
            ["/home/alice/.config", "/home/alice/.config/a"]
        );
        assert!(owned_file(&file, "bob").own_folders.is_empty());
    }
}
