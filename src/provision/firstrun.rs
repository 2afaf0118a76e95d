//! The boot file of systems without cloud-init (Buster to Bookworm): one script.

use minijinja::context;
use minijinja::value::{Serde, Value};

use super::root_files::{RootFiles, base64};
use super::{BootFile, ProvisionError, Settings, Templates};

/// `firstrun.sh`, which carries every other file within.
///
/// It chooses between NetworkManager, dhcpcd and wpa_supplicant on the node:
/// the boot partition does not tell which of them is in use.
pub(super) fn files(
    settings: &Settings<'_>,
    base: &Value,
    templates: &Templates,
) -> Result<Vec<BootFile>, ProvisionError> {
    let RootFiles {
        mut files,
        own,
        wifi_nm,
        wifi_wpa,
        ethernet_nm,
    } = RootFiles::render(settings, base, templates)?;
    files.extend(own);
    let sudoers = base64(templates.render("sudoers", base)?.as_bytes());
    let dhcpcd = match settings.node.address {
        Some(_) => Some(base64(templates.render("dhcpcd.conf", base)?.as_bytes())),
        None => None,
    };
    let context = context! {
        files => Serde(files),
        wifi_nm => Serde(wifi_nm),
        wifi_wpa => Serde(wifi_wpa),
        ethernet_nm => Serde(ethernet_nm),
        sudoers,
        dhcpcd,
        ..base.clone()
    };
    Ok(vec![BootFile::secret(
        "firstrun.sh",
        templates.render("firstrun.sh", &context)?,
        "all settings, run once by systemd",
    )])
}
