//! Node + OS facts + identity → boot files. Pure: no file, clock or randomness.

/// The pure result of provisioning: what shall stand on the boot partition.
#[derive(Clone, Debug, Default)]
pub struct BootFiles {
    /// Files of the boot partition's root directory, sorted by name;
    /// `cmdline.txt` and `config.txt` are among them when they change.
    pub files: Vec<BootFile>,
    /// Tokens added to `cmdline.txt`, for the plan.
    pub added_tokens: Vec<String>,
    /// Lines added to `config.txt`, for the plan.
    pub added_config: Vec<String>,
    /// cloud-init's instance-id (also recorded on firstrun cards).
    pub instance_id: String,
    /// Sentences about this node that the user should read.
    pub notices: Vec<String>,
}

/// One file of the boot partition.
#[derive(Clone)]
pub struct BootFile {
    /// Name in the root directory of the boot partition.
    pub name: String,
    /// Contents.
    pub bytes: Vec<u8>,
    /// What it is there for: a short phrase for the plan.
    pub why: &'static str,
    /// Holds something that must not be printed.
    pub secret: bool,
}

impl std::fmt::Debug for BootFile {
    /// Leaves the contents out: they may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootFile")
            .field("name", &self.name)
            .field("len", &self.bytes.len())
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}
