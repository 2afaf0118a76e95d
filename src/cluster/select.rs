//! Which nodes a command is about: `0-3,7,gateway`.

use super::{Cluster, Node};

/// Nodes, by number, range or hostname.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSet(Vec<Item>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Range(u32, u32),
    Name(String),
}

/// What is wrong with a set of nodes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Neither number, range nor hostname.
    #[error("`{0}` names no nodes; write numbers, ranges or hostnames, such as 0-3,7")]
    Syntax(String),
    /// No node of that number.
    #[error("there is no node {number}; {cluster} has {first} to {last}")]
    NoNumber {
        /// The number asked for.
        number: u32,
        /// Name of the cluster.
        cluster: String,
        /// Its first node.
        first: u32,
        /// Its last node.
        last: u32,
    },
    /// No node of that name.
    #[error("there is no node `{name}` in {cluster}; its nodes are called like {example}")]
    NoName {
        /// The name asked for.
        name: String,
        /// Name of the cluster.
        cluster: String,
        /// A hostname that there is.
        example: String,
    },
}

impl NodeSet {
    /// Parses a set.
    ///
    /// # Errors
    /// [`SelectError::Syntax`].
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let bad = || SelectError::Syntax(text.to_owned());
        let item = |word: &str| {
            let word = word.trim();
            if let Ok(number) = word.parse() {
                return Ok(Item::Range(number, number));
            }
            if let Some((first, last)) = word.split_once('-')
                && let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse())
            {
                return if first <= last {
                    Ok(Item::Range(first, last))
                } else {
                    Err(bad())
                };
            }
            let is_name = word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
            if word.is_empty() || !is_name {
                return Err(bad());
            }
            Ok(Item::Name(word.to_owned()))
        };
        text.split(',')
            .map(item)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Cluster {
    /// The nodes of a set, by number, each once.
    ///
    /// # Errors
    /// Where the set names a node that there is not.
    pub fn select(&self, set: &NodeSet) -> Result<Vec<Node>, SelectError> {
        let mut chosen = vec![false; self.nodes.len()];
        for item in &set.0 {
            match item {
                Item::Range(first, last) => {
                    for number in *first..=*last {
                        chosen[self.index_of(number)?] = true;
                    }
                }
                Item::Name(name) => chosen[self.index_named(name)?] = true,
            }
        }
        let chosen = self.nodes.iter().zip(chosen).filter(|(_, chosen)| *chosen);
        Ok(chosen.map(|(node, _)| node.clone()).collect())
    }

    fn index_of(&self, number: u32) -> Result<usize, SelectError> {
        let first = self.nodes.first().map_or(0, |node| node.number);
        self.nodes
            .iter()
            .position(|node| node.number == number)
            .ok_or_else(|| {
                let last = self.nodes.last().map_or(0, |node| node.number);
                SelectError::NoNumber {
                    number,
                    cluster: self.name.clone(),
                    first,
                    last,
                }
            })
    }

    fn index_named(&self, name: &str) -> Result<usize, SelectError> {
        let is_it = |node: &Node| {
            node.hostname.eq_ignore_ascii_case(name) || node.fqdn().eq_ignore_ascii_case(name)
        };
        self.nodes
            .iter()
            .position(is_it)
            .ok_or_else(|| SelectError::NoName {
                name: name.to_owned(),
                cluster: self.name.clone(),
                example: self
                    .nodes
                    .first()
                    .map_or_else(String::new, |node| node.hostname.clone()),
            })
    }
}
