//! Boot files of systems with cloud-init (Trixie): its NoCloud seed.

use minijinja::context;
use minijinja::value::{Serde, Value};

use super::root_files::{RootFile, RootFiles};
use super::{BootFile, ProvisionError, Settings, Templates};
use crate::cluster::node::Sudo;

/// The seed: both `user-data` and `meta-data` must be there, or neither counts.
pub(super) fn files(
    settings: &Settings<'_>,
    base: &Value,
    templates: &Templates,
) -> Result<Vec<BootFile>, ProvisionError> {
    let root = RootFiles::render(settings, base, templates)?;
    let mut files = root.files;
    // Whatever has cloud-init has NetworkManager only.
    files.extend(root.wifi_nm);
    files.extend(root.ethernet_nm);
    if settings.node.user.sudo == Sudo::NoPassword {
        let rule = templates.render("sudoers", base)?;
        files.push(RootFile::new(
            "/etc/sudoers.d/010_cardmint",
            0o440,
            rule.as_bytes(),
        ));
    }
    files.extend(root.own);
    let bootcmd = templates.render("bootcmd.sh", base)?;
    let context = context! { files => Serde(files), bootcmd, ..base.clone() };
    Ok(vec![
        BootFile::secret(
            "user-data",
            templates.render("user-data.yaml", &context)?,
            "all settings, for cloud-init",
        ),
        BootFile::plain(
            "meta-data",
            templates.render("meta-data.yaml", base)?,
            "tells cloud-init that its settings are new",
        ),
        BootFile::plain(
            "network-config",
            templates.render("network-config.yaml", base)?,
            "the wired network, for cloud-init",
        ),
    ])
}
