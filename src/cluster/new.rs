//! The manifest that `init` writes: a page that explains itself.

/// What `init` found out.
#[derive(Clone, Debug)]
pub struct NewManifest {
    /// Name of the cluster.
    pub name: String,
    /// Hostname template: `raspberrypi{n}`.
    pub hostname: String,
    /// Number of nodes.
    pub count: u32,
    /// Path, catalogue name or URL of the base.
    pub image: String,
    /// Login user.
    pub user: String,
    /// Keys, or paths of key files.
    pub authorized_keys: Vec<String>,
    /// crypt(3) hash, where the user has a password.
    pub password_hash: Option<String>,
    /// Wi-Fi network to join.
    pub wifi: Option<NewWifi>,
}

/// A Wi-Fi network for a new manifest.
#[derive(Clone, Debug)]
pub struct NewWifi {
    /// Name of the network.
    pub ssid: String,
    /// ISO 3166 country code.
    pub country: String,
    /// File with its derived key; `None` for an open network.
    pub psk_file: Option<String>,
}

impl NewWifi {
    fn render(&self) -> String {
        let key = match &self.psk_file {
            Some(path) => format!("psk_file = {}", quoted(path)),
            None => "open     = true".to_owned(),
        };
        let (ssid, country) = (quoted(&self.ssid), quoted(&self.country));
        format!("[wifi]\nssid     = {ssid}\n{key}\ncountry  = {country}\n")
    }
}

impl NewManifest {
    /// The text of `cluster.toml`.
    #[must_use]
    pub fn render(&self) -> String {
        let keys: Vec<String> = self
            .authorized_keys
            .iter()
            .map(|key| format!("    {},\n", quoted(key)))
            .collect();
        format!(
            "# A cardmint cluster. `cardmint plan` shows what comes of this page.\n\
             \n\
             [cluster]\n\
             name     = {name}\n\
             hostname = {hostname}   # {{n}} is the node's number, {{n:02}} in two digits\n\
             count    = {count}\n\
             domain   = \"lan\"\n\
             image    = {image}\n\
             \n\
             [user]\n\
             name = {user}\n\
             authorized_keys = [\n{keys}]\n\
             {password}\
             sudo = {sudo}\n\
             \n\
             [ssh]\n\
             password_authentication = false\n\
             \n\
             {wifi}\
             \n\
             # [locale]\n\
             # timezone = \"Europe/London\"\n\
             # keymap   = \"gb\"\n\
             # locale   = \"en_GB.UTF-8\"\n\
             \n\
             [first_boot]\n\
             expand = true               # make the root file system fill the card\n\
             # packages = [\"vim\"]        # needs network on the node\n\
             # run = [\"raspi-config nonint do_i2c 0\"]\n\
             \n\
             # [monitoring]\n\
             # node_exporter = true      # a file instead of true is carried by the card\n\
             # host = 0                  # this node runs Prometheus and Grafana\n\
             \n\
             # [boot]\n\
             # cmdline = [\"cgroup_enable=memory\"]\n\
             # config  = [\"dtoverlay=disable-bt\"]\n\
             \n\
             # [node.3]                  # what differs on one node\n\
             # hostname = \"gateway\"\n\
             # address  = \"192.168.1.13/24\"\n\
             # gateway  = \"192.168.1.1\"\n\
             # board    = \"pi-4b\"\n",
            name = quoted(&self.name),
            hostname = quoted(&self.hostname),
            count = self.count,
            image = quoted(&self.image),
            user = quoted(&self.user),
            keys = keys.concat(),
            password = self.render_password(),
            wifi = self.render_wifi(),
            sudo = quoted("nopasswd"),
        )
    }

    fn render_password(&self) -> String {
        match &self.password_hash {
            Some(hash) => format!("password_hash = {}\n", quoted(hash)),
            None => {
                "# No password: log in with a key. For one, name a file that only you can read:\n\
                 # password_file = \"password\"\n"
                    .to_owned()
            }
        }
    }

    fn render_wifi(&self) -> String {
        match &self.wifi {
            Some(wifi) => wifi.render(),
            None => "# [wifi]\n# ssid     = \"MyNetwork\"\n# psk_file = \"wifi.psk\"   \
                     # holds the passphrase; only a key derived from it reaches a card\n\
                     # country  = \"GB\"\n"
                .to_owned(),
        }
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
