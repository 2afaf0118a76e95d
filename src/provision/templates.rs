//! The templates of everything that lands on a node or is handed over, and how
//! to replace them.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use super::{ProvisionError, quote};

/// Every template by name: these are the files of `templates/`.
const EMBEDDED: &[(&str, &str)] = &[
    (
        "address.nmconnection",
        include_str!("../../templates/address.nmconnection"),
    ),
    ("bootcmd.sh", include_str!("../../templates/bootcmd.sh")),
    ("cluster.html", include_str!("../../templates/cluster.html")),
    ("cluster.svg", include_str!("../../templates/cluster.svg")),
    ("compose.yml", include_str!("../../templates/compose.yml")),
    (
        "dashboard.json",
        include_str!("../../templates/dashboard.json"),
    ),
    ("dhcpcd.conf", include_str!("../../templates/dhcpcd.conf")),
    ("dnsmasq.conf", include_str!("../../templates/dnsmasq.conf")),
    (
        "ethernet.nmconnection",
        include_str!("../../templates/ethernet.nmconnection"),
    ),
    ("expand.sh", include_str!("../../templates/expand.sh")),
    (
        "finish.service",
        include_str!("../../templates/finish.service"),
    ),
    ("finish.sh", include_str!("../../templates/finish.sh")),
    ("firstrun.sh", include_str!("../../templates/firstrun.sh")),
    (
        "grafana-dashboards.yml",
        include_str!("../../templates/grafana-dashboards.yml"),
    ),
    (
        "grafana-datasource.yml",
        include_str!("../../templates/grafana-datasource.yml"),
    ),
    ("hosts", include_str!("../../templates/hosts")),
    (
        "inventory.yml",
        include_str!("../../templates/inventory.yml"),
    ),
    (
        "meta-data.yaml",
        include_str!("../../templates/meta-data.yaml"),
    ),
    (
        "metrics.service",
        include_str!("../../templates/metrics.service"),
    ),
    ("metrics.sh", include_str!("../../templates/metrics.sh")),
    (
        "metrics.timer",
        include_str!("../../templates/metrics.timer"),
    ),
    (
        "network-config.yaml",
        include_str!("../../templates/network-config.yaml"),
    ),
    (
        "node-exporter.service",
        include_str!("../../templates/node-exporter.service"),
    ),
    ("prepare.sh", include_str!("../../templates/prepare.sh")),
    (
        "prometheus.yml",
        include_str!("../../templates/prometheus.yml"),
    ),
    ("sshd.conf", include_str!("../../templates/sshd.conf")),
    ("steps.sh", include_str!("../../templates/steps.sh")),
    ("sudoers", include_str!("../../templates/sudoers")),
    (
        "user-data-after.yaml",
        include_str!("../../templates/user-data-after.yaml"),
    ),
    (
        "user-data.yaml",
        include_str!("../../templates/user-data.yaml"),
    ),
    (
        "wifi.nmconnection",
        include_str!("../../templates/wifi.nmconnection"),
    ),
    (
        "wpa_supplicant.conf",
        include_str!("../../templates/wpa_supplicant.conf"),
    ),
];

/// The templates that provisioning and hand-over render: the embedded ones, some of them
/// possibly replaced.
#[derive(Clone, Debug)]
pub struct Templates {
    env: Environment<'static>,
}

/// An override that names no template, or is not a template itself.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// There is no template of this name.
    #[error("there is no template `{name}`{}", nearest.map_or_else(String::new, |n| format!("; did you mean `{n}`?")))]
    Unknown {
        /// The name as given.
        name: String,
        /// The known name that is most like it.
        nearest: Option<&'static str>,
    },
    /// The template does not parse.
    #[error("template `{name}`, line {line}: {detail}")]
    Syntax {
        /// Name of the template.
        name: String,
        /// Line of the fault.
        line: usize,
        /// What is wrong.
        detail: String,
    },
}

impl Templates {
    /// The templates this binary carries.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "the embedded templates are tested to parse"
    )]
    pub fn embedded() -> Self {
        #[expect(
            clippy::expect_used,
            reason = "cannot fail: a test parses each of them"
        )]
        Self::with_overrides(BTreeMap::new()).expect("the embedded templates parse")
    }

    /// Every template's name and embedded text, sorted by name.
    pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        EMBEDDED.iter().copied()
    }

    /// The embedded templates with some replaced: name to text.
    pub fn with_overrides(overrides: BTreeMap<String, String>) -> Result<Self, TemplateError> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_syntax(syntax()?);
        quote::install(&mut env);
        for (name, text) in EMBEDDED {
            add(&mut env, name, (*text).to_owned())?;
        }
        for (name, text) in overrides {
            if !EMBEDDED.iter().any(|(known, _)| *known == name) {
                let nearest = nearest(&name);
                return Err(TemplateError::Unknown { name, nearest });
            }
            // A carriage return after `#!/bin/sh` or in user-data stops a node from booting.
            add(&mut env, &name, text.replace("\r\n", "\n"))?;
        }
        Ok(Self { env })
    }

    /// Renders the template `name`.
    pub(crate) fn render(
        &self,
        name: &'static str,
        context: &Value,
    ) -> Result<String, ProvisionError> {
        self.env
            .get_template(name)
            .and_then(|template| template.render(context))
            .map_err(|error| ProvisionError::Template {
                // An error inside an included template names that one.
                name: error.name().unwrap_or(name).to_owned(),
                line: error.line().unwrap_or(0),
                detail: detail(&error),
            })
    }
}

impl Default for Templates {
    fn default() -> Self {
        Self::embedded()
    }
}

/// A line that holds a block tag alone leaves no empty line behind.
fn syntax() -> Result<SyntaxConfig, TemplateError> {
    let built = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    built.map_err(|error| TemplateError::Syntax {
        name: "syntax".to_owned(),
        line: 0,
        detail: detail(&error),
    })
}

fn add(env: &mut Environment<'static>, name: &str, text: String) -> Result<(), TemplateError> {
    env.add_template_owned(name.to_owned(), text)
        .map_err(|error| TemplateError::Syntax {
            name: name.to_owned(),
            line: error.line().unwrap_or(0),
            detail: detail(&error),
        })
}

fn detail(error: &minijinja::Error) -> String {
    if error.kind() == ErrorKind::TemplateNotFound {
        // Its name may be computed, from whatever value.
        return "it includes a template that there is not".to_owned();
    }
    error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned)
}

fn nearest(name: &str) -> Option<&'static str> {
    EMBEDDED
        .iter()
        .map(|(known, _)| (strsim::jaro_winkler(known, name), *known))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_template_suggests_the_nearest() {
        let overrides = BTreeMap::from([("first-run.sh".to_owned(), String::new())]);
        let error = Templates::with_overrides(overrides).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no template `first-run.sh`; did you mean `firstrun.sh`?"
        );
    }

    #[test]
    fn a_broken_override_names_template_and_line() {
        let overrides = BTreeMap::from([("sudoers".to_owned(), "ok\n{% if %}\n".to_owned())]);
        let error = Templates::with_overrides(overrides)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("template `sudoers`, line 2: "), "{error}");
    }

    #[test]
    fn a_value_without_a_filter_is_refused_with_template_and_line() {
        let overrides = BTreeMap::from([("sudoers".to_owned(), "\n{{ user.name }}\n".to_owned())]);
        let templates = Templates::with_overrides(overrides).unwrap();
        let context = minijinja::context! { user => minijinja::context! { name => "x" } };
        let error = templates
            .render("sudoers", &context)
            .unwrap_err()
            .to_string();
        assert!(error.contains("template `sudoers`, line 2"), "{error}");
        assert!(error.contains("without a filter"), "{error}");
    }

    #[test]
    fn carriage_returns_of_an_override_do_not_reach_a_node() {
        let overrides = BTreeMap::from([("sudoers".to_owned(), "a\r\nb\r\n".to_owned())]);
        let templates = Templates::with_overrides(overrides).unwrap();
        assert_eq!(
            templates.render("sudoers", &Value::UNDEFINED).unwrap(),
            "a\nb\n"
        );
    }
}
