//! The sections that all nodes share.

use std::path::Path;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::Ask;
use super::check::{self, Complaint};
use super::files::Files;
use super::read::{At, Section};
use super::zone::timezone;
use crate::cluster::identity::wifi_psk;
use crate::cluster::node::{
    Boot, FirstBoot, Locale, NodeFile, Password, Sudo, User, Wifi, WifiSecurity,
};

/// A key that is checked by itself; `None` where it is missing or wrong.
pub(super) fn checked(
    section: &mut Section<'_, '_>,
    key: &'static str,
    check: impl FnOnce(&str) -> Result<(), Complaint>,
) -> Option<At<String>> {
    let found = section.string(key)?;
    judge(section, &found, check(&found.value)).map(|()| found)
}

/// Notes the complaint about a value, if there is one.
pub(super) fn judge<T, U>(
    section: &Section<'_, '_>,
    at: &At<U>,
    result: Result<T, Complaint>,
) -> Option<T> {
    result
        .map_err(|(message, help)| section.problem(&at.span, message, &help))
        .ok()
}

/// `[user]`, and what `[ssh]` says about its password.
pub(super) fn read_user(mut section: Section<'_, '_>, files: &Files) -> (Arc<User>, bool) {
    section.refuse(
        "password",
        "a password in plain text does not belong into a manifest",
        "put it into a file that only you can read and name that in `password_file`, or give \
         `password_hash`",
    );
    let name = match checked(&mut section, "name", check::user_name) {
        Some(name) => name.value,
        None => "pi".to_owned(),
    };
    let before = section.problems();
    let authorized_keys = read_keys(&mut section, files);
    let password = read_password(&mut section, files);
    // A key or password that was refused is a problem of its own, and no reason
    // to say that there is none.
    let has_password = section.gives("password_hash") || section.gives("password_file");
    let refused = section.problems() != before;
    let sudo = read_sudo(&mut section, has_password);
    if authorized_keys.is_empty() && !has_password && !refused {
        let help = "give `authorized_keys` in [user], such as [\"~/.ssh/id_ed25519.pub\"]; \
                    ssh-keygen makes a key";
        section.problem(
            &section.span.clone(),
            "nobody could log in: no key and no password",
            help,
        );
    }
    section.finish();
    (
        Arc::new(User {
            name,
            authorized_keys,
            password,
            sudo,
        }),
        has_password,
    )
}

fn read_keys(section: &mut Section<'_, '_>, files: &Files) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for entry in section.strings("authorized_keys", true) {
        let keys = judge(section, &entry, files.authorized_keys(&entry.value));
        for key in keys.unwrap_or_default() {
            if !all.contains(&key) {
                all.push(key);
            }
        }
    }
    all
}

fn read_sudo(section: &mut Section<'_, '_>, has_password: bool) -> Sudo {
    let Some(sudo) = section.string("sudo") else {
        return Sudo::NoPassword;
    };
    match sudo.value.as_str() {
        "nopasswd" => return Sudo::NoPassword,
        "password" if has_password => return Sudo::Password,
        "password" => {
            let help = "give `password_file` or `password_hash`, or set sudo = \"nopasswd\"";
            section.problem(
                &sudo.span,
                "sudo would ask for a password that there is not",
                help,
            );
        }
        other => {
            let message = format!("`sudo` must be \"nopasswd\" or \"password\", not `{other}`");
            section.problem(&sudo.span, message, "");
        }
    }
    Sudo::NoPassword
}

fn read_password(section: &mut Section<'_, '_>, files: &Files) -> Password {
    let hash = checked(section, "password_hash", check::password_hash);
    let file = section.string("password_file");
    if let (Some(_), Some(file)) = (&hash, &file) {
        let message = "both `password_hash` and `password_file` are given";
        section.problem(&file.span, message, "keep one of them");
    }
    let plain = file.and_then(|file| judge(section, &file, files.read_secret(&file.value)));
    match (hash, plain) {
        (Some(hash), _) => Password::Hash(hash.value.into()),
        (None, Some(plain)) => Password::Plain(plain),
        (None, None) => Password::None,
    }
}

/// `[ssh]`: whether sshd accepts passwords.
pub(super) fn read_ssh(mut section: Section<'_, '_>, has_password: bool) -> bool {
    let allowed = section.boolean("password_authentication");
    if let Some(allowed) = &allowed
        && allowed.value
        && !has_password
    {
        let help = "give `password_file` or `password_hash` in [user], or set it to false";
        section.problem(
            &allowed.span,
            "the user has no password to log in with",
            help,
        );
    }
    section.finish();
    allowed.is_some_and(|allowed| allowed.value)
}

/// `[locale]`.
pub(super) fn read_locale(mut section: Section<'_, '_>) -> Arc<Locale> {
    let mut take = |key, check: fn(&str) -> Result<(), Complaint>| {
        checked(&mut section, key, check).map(|found| found.value)
    };
    let locale = Locale {
        timezone: take("timezone", timezone),
        keymap: take("keymap", check::keymap),
        locale: take("locale", check::locale),
    };
    section.finish();
    Arc::new(locale)
}

/// `[wifi]`, which is there.
pub(super) fn read_wifi(
    mut section: Section<'_, '_>,
    files: &Files,
    ask: &mut dyn Ask,
) -> Option<Arc<Wifi>> {
    for key in ["psk", "password", "passphrase"] {
        let help = "put it into a file that only you can read and name that in `psk_file`";
        section.refuse(key, "a passphrase does not belong into a manifest", help);
    }
    let span = section.span.clone();
    let ssid = checked(&mut section, "ssid", |ssid| match ssid.len() {
        1..=32 if !ssid.chars().any(char::is_control) => Ok(()),
        1..=32 => Err((
            "a network name has no control characters".to_owned(),
            String::new(),
        )),
        len => Err((
            format!("a network name has 1 to 32 bytes, this has {len}"),
            String::new(),
        )),
    });
    let country = section.string("country").and_then(|country| {
        let upper = country.value.to_ascii_uppercase();
        let is_code = upper.len() == 2 && upper.bytes().all(|byte| byte.is_ascii_uppercase());
        // Two letters that many write, and no radio knows.
        let good = is_code && upper != "UK";
        if !good {
            let message = format!("`{}` is no country", country.value);
            let help = if is_code {
                "the United Kingdom is GB"
            } else {
                "write its two letters, like PT"
            };
            section.problem(&country.span, message, help);
        }
        good.then_some(upper)
    });
    if !section.gives("country") {
        let message = "[wifi] needs `country`: the radio stays off without one";
        section.problem(&span, message, "write its two letters, like PT");
    }
    let hidden = section.boolean("hidden").is_some_and(|hidden| hidden.value);
    if !section.gives("ssid") {
        section.problem(&span, "[wifi] needs `ssid`, the name of the network", "");
    }
    let name = ssid.as_ref().map(|ssid| ssid.value.as_str());
    let security = read_security(&mut section, name, files, ask);
    section.finish();
    Some(Arc::new(Wifi {
        ssid: ssid?.value,
        security: security?,
        country: country?,
        hidden,
    }))
}

/// How to join; without an `ssid` its keys are only checked.
fn read_security(
    section: &mut Section<'_, '_>,
    ssid: Option<&str>,
    files: &Files,
    ask: &mut dyn Ask,
) -> Option<WifiSecurity> {
    let psk_file = section.string("psk_file");
    let open = section.boolean("open");
    let gives_bad_open = open.is_none() && section.gives("open");
    let open = open.is_some_and(|open| open.value);
    let wpa3_only = section.boolean("wpa3_only").is_some_and(|only| only.value);
    let at = psk_file.clone().unwrap_or(At {
        value: String::new(),
        span: section.span.clone(),
    });
    let secret = match (psk_file, open) {
        (None, true) => return Some(WifiSecurity::Open),
        (Some(file), true) => {
            section.problem(
                &file.span,
                "an open network has no key",
                "leave out one of the two",
            );
            return None;
        }
        (Some(file), false) => judge(section, &file, files.read_secret(&file.value))?,
        // Given, but not as a string or boolean: that is the problem.
        (None, false) if section.gives("psk_file") || gives_bad_open => return None,
        (None, false) => match ask.wifi_passphrase(ssid?) {
            Some(secret) => secret,
            None => {
                let help = "name a file with the passphrase in `psk_file`, or set open = true";
                section.problem(&at.span, "[wifi] has no passphrase", help);
                return None;
            }
        },
    };
    judge(section, &at, check_passphrase(&secret, wpa3_only))?;
    Some(if wpa3_only {
        WifiSecurity::Sae(secret)
    } else {
        WifiSecurity::Psk(wifi_psk(&secret, ssid?))
    })
}

/// IEEE 802.11-2020, J.4.1: 8 to 63 printable ASCII characters, or the key.
pub(crate) fn check_passphrase(secret: &SecretString, wpa3_only: bool) -> Result<(), Complaint> {
    let text = secret.expose_secret();
    let is_key = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    match (wpa3_only, is_key) {
        (true, true) => Err((
            "a WPA3-only network needs the passphrase itself, not a derived key".to_owned(),
            "write the passphrase into the file".to_owned(),
        )),
        (false, true) => Ok(()),
        _ if (8..=63).contains(&text.len()) && printable => Ok(()),
        _ => Err((
            format!(
                "a Wi-Fi passphrase has 8 to 63 plain characters, this has {}",
                text.len()
            ),
            String::new(),
        )),
    }
}

/// The lists of `[first_boot]`, which a node may add to; `shared` is what there is already.
pub(super) fn read_steps(
    section: &mut Section<'_, '_>,
    files: &Files,
    shared: &[NodeFile],
) -> FirstBoot {
    let mut steps = FirstBoot::default();
    for package in section.strings("packages", false) {
        if judge(section, &package, check::package(&package.value)).is_some() {
            steps.packages.push(package.value);
        }
    }
    for command in section.strings("run", false) {
        if command.value.trim().is_empty() || command.value.contains('\0') {
            section.problem(&command.span, "an empty command", "leave it out");
        } else {
            steps.run.push(command.value);
        }
    }
    for file in section.tables("files") {
        let span = file.span.clone();
        let Some(file) = read_file(file, files) else {
            continue;
        };
        if steps.files.iter().any(|other| other.path == file.path) {
            let message = format!("{} is written twice", file.path);
            section.problem(&span, message, "leave out one of the two");
        }
        let others = shared.iter().chain(&steps.files);
        let pair = others
            .flat_map(|other| [(&other.path, &file.path), (&file.path, &other.path)])
            .find(|(above, below)| below != above && Path::new(below).starts_with(above));
        if let Some((above, below)) = pair {
            let message = format!("{below} would need a folder where {above} is a file");
            section.problem(&span, message, "give one of the two another path");
        }
        steps.files.push(file);
    }
    steps
}

fn read_file(mut section: Section<'_, '_>, files: &Files) -> Option<NodeFile> {
    let span = section.span.clone();
    let source = section.string("source");
    let path = checked(&mut section, "path", check::node_path);
    let mode = match section.string("mode") {
        Some(mode) => judge(&section, &mode, check::mode(&mode.value)),
        None => Some(0o644),
    };
    let owner = checked(&mut section, "owner", check::owner).map(|owner| owner.value);
    for key in ["source", "path"] {
        if !section.gives(key) {
            let help = "write { source = \"motd\", path = \"/etc/motd\" }";
            section.problem(&span, format!("a file needs `{key}`"), help);
        }
    }
    let bytes = source.and_then(|source| judge(&section, &source, files.read(&source.value)));
    section.finish();
    Some(NodeFile {
        path: path?.value,
        bytes: bytes?.into(),
        mode: mode?,
        owner,
    })
}

/// The lists of `[boot]`, which a node may add to.
pub(super) fn read_boot(section: &mut Section<'_, '_>) -> Boot {
    let mut boot = Boot::default();
    for token in section.strings("cmdline", false) {
        if judge(section, &token, check::kernel_token(&token.value)).is_some() {
            boot.cmdline.push(token.value);
        }
    }
    for line in section.strings("config", false) {
        if judge(section, &line, check::config_line(&line.value)).is_some() {
            boot.config.push(line.value);
        }
    }
    boot
}
