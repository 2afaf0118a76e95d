//! A cluster's directory, loaded: manifest, key, record, templates.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use secrecy::SecretString;

use super::Context;
use super::bases::{self, Bases};
use crate::base::Cache;
use crate::cluster::identity::IdentityError;
use crate::cluster::manifest::StandIn;
use crate::cluster::{Ask, Cluster, ClusterKey, Identity, Node, NodeSet, Record, public_half};
use crate::handover::ssh::public_key;
use crate::layout::Mechanism;
use crate::plan::{self, Order, Plan, PlanError};
use crate::provision::Templates;
use crate::report::event::{Event, Sink as _};
use crate::ui::ask::Terminal;
use crate::whole;

/// Name of the manifest.
pub(super) const MANIFEST: &str = "cluster.toml";
/// Private key that `init` makes where the user has none; public half beside it.
pub(super) const LOGIN_KEY: &str = "id_ed25519";

/// Which image a name means, of those that are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// The newest.
    Newest,
    /// The one that the node was made on, even if there is a newer one.
    AsBefore,
}

/// Everything that is in a cluster's directory.
pub(super) struct Workspace {
    pub(super) dir: PathBuf,
    pub(super) cluster: Cluster,
    pub(super) key: ClusterKey,
    pub(super) record: Record,
    pub(super) templates: Templates,
    pub(super) cache: Cache,
}

impl Workspace {
    /// Loads the directory of `context`; nothing is written.
    pub(super) fn open(context: &Context<'_>) -> Result<Self> {
        Self::open_asking(context, &mut Terminal)
    }

    /// The same for what needs no secret that a manifest leaves open.
    pub(super) fn open_unasked(context: &Context<'_>) -> Result<Self> {
        Self::open_asking(context, &mut StandIn)
    }

    fn open_asking(context: &Context<'_>, ask: &mut dyn Ask) -> Result<Self> {
        let dir = context.dir.clone();
        let cluster = Cluster::load(&context.path(MANIFEST), ask);
        // Rather than a problem that follows from a question that was not answered.
        context.interrupt.check()?;
        let cluster = cluster?;
        let key = ClusterKey::load(&dir)?;
        let record = Record::load(&dir)?;
        record.check_owner(&dir, &cluster.name, &key)?;
        let templates = load_templates(&dir.join("templates"))?;
        let cache = Cache::open_default()?;
        Ok(Self {
            dir,
            cluster,
            key,
            record,
            templates,
            cache,
        })
    }

    /// The nodes that `--nodes` names, or all.
    pub(super) fn select(&self, set: Option<&str>) -> Result<Vec<Node>> {
        match set {
            None => Ok(self.cluster.nodes.clone()),
            Some(text) => {
                let set = NodeSet::parse(text).map_err(|error| super::Usage(error.to_string()))?;
                let nodes = self.cluster.select(&set);
                Ok(nodes.map_err(|error| super::Usage(error.to_string()))?)
            }
        }
    }

    /// The one node that `text` names.
    pub(super) fn select_one(&self, text: &str) -> Result<Node> {
        let mut nodes = self.select(Some(text))?;
        match (nodes.pop(), nodes.is_empty()) {
            (Some(node), true) => Ok(node),
            _ => Err(super::Usage(format!("`{text}` is more than one node; name one")).into()),
        }
    }

    /// Opens the bases of `nodes`; `mechanism` wins over the manifest's.
    pub(super) fn bases(
        &self,
        context: &Context<'_>,
        nodes: &[Node],
        mechanism: Option<Mechanism>,
        pick: Pick,
    ) -> Result<Bases> {
        let mechanism = mechanism.or(self.cluster.mechanism);
        let entry = nodes
            .first()
            .and_then(|node| self.record.entry(node.number));
        let before = match pick {
            Pick::Newest => None,
            Pick::AsBefore => entry.map(|entry| entry.base_name.as_str()),
        };
        let bases = bases::open_all(context, &self.cache, nodes, mechanism, before);
        let taken = bases.as_ref().map(|bases| bases.list[0].base.name());
        match (taken, entry, before) {
            // Why this image, where nobody has named one.
            (Err(_), ..) => {
                for message in &self.cluster.notices {
                    context.progress.send(Event::Noticed { message });
                }
            }
            (Ok(taken), Some(entry), Some(before)) if taken != before => {
                let message = format!(
                    "{} was made on {before}, which is not what `image` leads to now: {taken} is taken",
                    entry.hostname
                );
                context.progress.send(Event::Noticed { message: &message });
            }
            _ => {}
        }
        bases
    }

    /// What is derived for a node, in the generation that the record says.
    pub(super) fn identity(&self, node: &Node) -> Result<Identity, IdentityError> {
        Identity::derive(&self.key, node, self.record.generation(node.number))
    }

    /// Orders for `nodes`, whose images go to `out`.
    pub(super) fn orders(
        &self,
        nodes: Vec<Node>,
        bases: &Bases,
        out: &Path,
    ) -> Result<Vec<Order>, IdentityError> {
        let order = |(node, &base): (Node, &usize)| {
            let identity = self.identity(&node)?;
            let path = out.join(format!("{}.img", node.hostname));
            Ok(Order {
                node,
                base,
                identity,
                path,
            })
        };
        nodes.into_iter().zip(&bases.of_node).map(order).collect()
    }

    /// The plan for `orders`, which are on `bases`.
    pub(super) fn plan<'a>(
        &self,
        bases: &'a Bases,
        orders: Vec<Order>,
    ) -> Result<Plan<'a>, PlanError> {
        plan::make(&self.cluster.name, &bases.list, orders, &self.templates)
    }

    /// Changes the record of what was made, which is this cluster's from then on.
    pub(super) fn update_record<T>(&self, change: impl FnOnce(&mut Record) -> T) -> Result<T> {
        Ok(Record::update(&self.dir, |record| {
            record.belongs_to(&self.cluster.name, &self.key);
            change(record)
        })?)
    }

    /// The private key that `init` made for who has none, if the nodes let it in: where
    /// one is named, ssh leaves the user's own keys alone.
    pub(super) fn login_key(&self) -> Result<Option<PathBuf>> {
        let path = self.dir.join(LOGIN_KEY);
        if !path.exists() {
            return Ok(None);
        }
        let public = self.dir.join(format!("{LOGIN_KEY}.pub"));
        let public = match fs::read_to_string(&public) {
            Ok(text) => public_key(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                public_key(&public_half_of(&path)?)
            }
            Err(error) => return Err(error).context(public.display().to_string()),
        };
        let lets_in = |line: &String| {
            // Options stand before it, and a comment behind.
            let words: Vec<&str> = line.split_whitespace().collect();
            words.windows(2).any(|pair| pair.join(" ") == public)
        };
        let mut users = self.cluster.nodes.iter().map(|node| &node.user);
        let is_used = users.any(|user| user.authorized_keys.iter().any(lets_in));
        Ok(is_used.then(|| path.canonicalize()).transpose()?)
    }
}

/// The public half of the private key in a file.
pub(super) fn public_half_of(path: &Path) -> Result<String> {
    let reading = || format!("reading {}", path.display());
    let private = SecretString::from(fs::read_to_string(path).with_context(reading)?);
    public_half(&private).with_context(reading)
}

/// Replaces a file as a whole: readers see the old text or the new one.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<()> {
    whole::write(path, text.as_bytes(), 0o644)
        .with_context(|| format!("writing {}", path.display()))
}

/// Templates that replace those of cardmint, by file name.
fn load_templates(folder: &Path) -> Result<Templates> {
    let mut overrides = BTreeMap::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            let text = fs::read_to_string(&path)
                .with_context(|| format!("reading the template {}", path.display()))?;
            overrides.insert(name, text);
        }
    }
    Templates::with_overrides(overrides)
        .map_err(|error| super::Usage(format!("{}: {error}", folder.display())).into())
}
