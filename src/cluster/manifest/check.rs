//! What a single value may look like. Each check returns the complaint.

use std::net::IpAddr;

use crate::cluster::node::MacAddress;

/// A complaint about a value: what is wrong, and what to do.
pub(super) type Complaint = (String, String);

pub(super) fn complain<T>(
    message: impl Into<String>,
    help: impl Into<String>,
) -> Result<T, Complaint> {
    Err((message.into(), help.into()))
}

/// RFC 1123, 2.1: letters, digits and hyphens, at most 63, no hyphen at an end.
pub(super) fn hostname(name: &str) -> Result<(), Complaint> {
    let good = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        // ssh and ping read a bare number as an address.
        && !name.bytes().all(|byte| byte.is_ascii_digit());
    if good {
        return Ok(());
    }
    complain(
        format!("`{name}` is no hostname"),
        "use letters, digits and hyphens, at most 63, not only digits, no hyphen at either end",
    )
}

/// A hostname that no tool which is told of the node takes for something else.
pub(super) fn node_name(name: &str) -> Result<(), Complaint> {
    hostname(name)?;
    let lower = name.to_ascii_lowercase();
    let is_time = lower.strip_suffix(['s', 'm', 'h', 'd', 'w']);
    let is_time = is_time
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    let taken_for = match lower.as_str() {
        "all" | "ungrouped" => "Ansible has a group of that name",
        "ignore" | "infinite" => "dnsmasq has a keyword of that name",
        _ if is_time => "dnsmasq takes it for the time of a lease",
        _ => return Ok(()),
    };
    complain(
        format!("`{name}` cannot be a node: {taken_for}"),
        "choose another hostname",
    )
}

/// Labels of hostnames, separated by dots.
pub(super) fn domain(name: &str) -> Result<(), Complaint> {
    if name.len() <= 253 && name.split('.').all(|label| hostname(label).is_ok()) {
        return Ok(());
    }
    complain(
        format!("`{name}` is no domain"),
        "write it like lan or cluster.example.org",
    )
}

/// Accounts and groups that Raspberry Pi OS Lite has before anybody gives it a user. An
/// account of the name would be taken for the user's; a group of it keeps `useradd` from
/// making one.
///
/// Left out is what no name of a user can be (`_apt`), and what only some other package
/// brings (`docker`). From base-passwd's `passwd.master` and `group.master`, with `gnats`,
/// which it had up to Bullseye; from `sysusers.d` and the maintainer scripts of systemd,
/// udev, dbus, openssh (the group `ssh` up to Bullseye), polkitd, avahi-daemon, bluez,
/// nfs-common, cron and dnsmasq-base, which NetworkManager brings; and from pi-gen,
/// stage2/01-sys-tweaks.
const TAKEN_NAMES: &str = "
    daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody
    adm tty disk kmem dialout fax voice cdrom floppy tape sudo audio dip operator src shadow
    utmp video sasl plugdev staff users nogroup
    systemd-journal systemd-network systemd-resolve systemd-timesync systemd-coredump
    messagebus sshd ssh polkitd avahi statd input kvm render sgx clock netdev bluetooth crontab
    dnsmasq gpio i2c spi";

/// What `userconf` and `adduser` both accept, and what Raspberry Pi OS does not have.
pub(super) fn user_name(name: &str) -> Result<(), Complaint> {
    let good = (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    match name {
        "root" => complain(
            "the user cannot be root",
            "name an ordinary user; it may use sudo",
        ),
        _ if TAKEN_NAMES.split_whitespace().any(|taken| taken == name) => complain(
            format!("`{name}` is an account or a group that Raspberry Pi OS has for itself"),
            "choose another name: nobody could log in as that one",
        ),
        _ if good => Ok(()),
        _ => complain(
            format!("`{name}` is no user name that Raspberry Pi OS accepts"),
            "use lower-case letters, digits and hyphens, starting with a letter, at most 32",
        ),
    }
}

/// A crypt(3) hash, as opposed to a password.
pub(super) fn password_hash(hash: &str) -> Result<(), Complaint> {
    // Lengths of the encoded digests, by crypt(5).
    let digest_len = |len| {
        hash.rsplit('$')
            .next()
            .is_some_and(|digest| digest.len() == len)
    };
    let whole = match hash.get(..3) {
        Some("$6$") => digest_len(86),
        Some("$5$" | "$y$") => digest_len(43),
        _ => hash.starts_with("$2b$") && hash.len() == 60,
    };
    let good = whole
        && hash
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"./$=,".contains(&b));
    if good {
        return Ok(());
    }
    complain(
        "`password_hash` is no crypt hash; a password in plain text does not belong here",
        "make one with `openssl passwd -6`, or put the password into a file and name it in \
         `password_file`",
    )
}

/// An X keyboard layout, by its form.
pub(super) fn keymap(name: &str) -> Result<(), Complaint> {
    let good = (2..=32).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if good {
        return Ok(());
    }
    complain(
        format!("`{name}` is no keyboard layout"),
        "write it like gb, us or pt",
    )
}

/// A locale of glibc, by its form. Of its names, systems know the one of Debian's list of
/// those that are supported, and not the one of `locale -a`.
pub(super) fn locale(name: &str) -> Result<(), Complaint> {
    let (of_place, variant) = match name.split_once('@') {
        Some((before, variant)) => (before, format!("@{variant}")),
        None => (name, String::new()),
    };
    if let Some((place, charset)) = of_place.split_once('.')
        && charset != "UTF-8"
        && charset.replace('-', "").eq_ignore_ascii_case("utf8")
    {
        return complain(
            format!("`{name}` is not what Debian calls this locale"),
            format!("write it as {place}.UTF-8{variant}"),
        );
    }
    let good = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b));
    if good {
        return Ok(());
    }
    complain(
        format!("`{name}` is no locale"),
        "write it like pt_PT.UTF-8",
    )
}

/// Debian Policy, 5.6.1: the name of a package.
pub(super) fn package(name: &str) -> Result<(), Complaint> {
    let good = name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    if good {
        return Ok(());
    }
    complain(
        format!("`{name}` is no name of a Debian package"),
        "write it as apt does, like vim",
    )
}

/// An absolute path on a node.
pub(super) fn node_path(path: &str) -> Result<(), Complaint> {
    let parts = || path.split('/').skip(1);
    let good = path.starts_with('/')
        && parts().all(|part| !part.is_empty() && part != "." && part != "..")
        && !path.chars().any(char::is_control);
    if good {
        return Ok(());
    }
    complain(
        format!("`{path}` is no absolute path of a file"),
        "write it like /etc/motd",
    )
}

/// Permission bits in octal.
pub(super) fn mode(text: &str) -> Result<u32, Complaint> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 && text.len() >= 3 && !text.starts_with('+') => Ok(mode),
        _ => complain(
            format!("`{text}` is no file mode"),
            "write it in octal, like \"0644\"",
        ),
    }
}

/// `user` or `user:group`.
pub(super) fn owner(text: &str) -> Result<(), Complaint> {
    let name = |name: &str| {
        !name.is_empty()
            && name.len() <= 32
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
    };
    if text.splitn(2, ':').all(name) {
        return Ok(());
    }
    complain(
        format!("`{text}` is no owner"),
        "write a user, or user:group, like \"pi:pi\"",
    )
}

/// Name of a network interface.
pub(super) fn interface(name: &str) -> Result<(), Complaint> {
    let good = (1..=15).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b));
    if good {
        return Ok(());
    }
    complain(
        format!("`{name}` is no network interface"),
        "write it like eth0 or wlan0",
    )
}

/// `dc:a6:32:01:02:03`, with colons or hyphens: of one machine.
pub(super) fn mac(text: &str) -> Result<MacAddress, Complaint> {
    let mut octets = [0; 6];
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut parts = text.split(separator);
    let mut read = || {
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2)?;
            *octet = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(())
    };
    // The lowest bit of the first octet marks the address of a group.
    match read() {
        Some(()) if octets[0] & 1 == 0 && octets != [0; 6] => Ok(MacAddress(octets)),
        _ => complain(
            format!("`{text}` is no MAC address of a machine"),
            "write it like dc:a6:32:01:02:03",
        ),
    }
}

/// A kernel token that does not get in the way of the first boot.
pub(super) fn kernel_token(token: &str) -> Result<(), Complaint> {
    if token.is_empty() || token.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return complain(
            format!("`{token}` is not one kernel token"),
            "give each token as a string of its own, without spaces",
        );
    }
    // Raspberry Pi OS looks for these as text, wherever they stand.
    let traps = ["resize", "init=", "root=", "systemd.run", "ds=nocloud"];
    let trap = traps.into_iter().find(|trap| token.starts_with(trap));
    match trap.or_else(|| token.contains("firstboot").then_some("firstboot")) {
        None => Ok(()),
        Some(trap) => complain(
            format!("`{token}` would break the first boot (Raspberry Pi OS acts on `{trap}`)"),
            "leave it out",
        ),
    }
}

/// A line for `config.txt`; the firmware reads at most 98 characters of one.
pub(super) fn config_line(line: &str) -> Result<(), Complaint> {
    if line.trim().is_empty() || line.chars().any(char::is_control) {
        return complain(
            "a line for config.txt is empty or holds a line break",
            "give each line as a string",
        );
    }
    if line.len() > 98 {
        return complain(
            format!("the line `{line}` is too long for config.txt"),
            "the firmware reads 98 characters of a line",
        );
    }
    Ok(())
}

/// `10.0.0.12/24`: address and length of the prefix.
pub(super) fn cidr(text: &str) -> Result<(IpAddr, u8), Complaint> {
    let help = "write it with the length of its network, like 192.168.1.12/24";
    let Some((address, prefix)) = text.split_once('/') else {
        return complain(format!("`{text}` lacks the length of its network"), help);
    };
    let (Ok(address), Ok(prefix)) = (address.parse::<IpAddr>(), prefix.parse::<u8>()) else {
        return complain(format!("`{text}` is no address"), help);
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    if prefix == 0 || prefix > bits {
        return complain(
            format!("`{text}`: no network has a prefix of {prefix} bits"),
            help,
        );
    }
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return complain(format!("`{text}` is no address for a machine"), help);
    }
    if let IpAddr::V4(v4) = address
        && prefix < 31
    {
        let host = u32::MAX >> prefix;
        let part = v4.to_bits() & host;
        if part == 0 || part == host {
            let what = if part == 0 {
                "the network itself"
            } else {
                "its broadcast address"
            };
            return complain(format!("`{text}` is {what}, not a machine in it"), help);
        }
    }
    Ok((address, prefix))
}

/// Whether two addresses are in one network.
pub(super) fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        _ => false,
    }
}
