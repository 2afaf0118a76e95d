//! The dashboard, read as Grafana reads it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// What is chosen in the dashboard's selectors, as regular expressions.
pub(super) struct Selection<'a> {
    pub(super) job: &'a str,
    pub(super) instance: &'a str,
}

impl Selection<'_> {
    /// The query that Grafana would send. The rate interval is long
    /// enough for a busy machine.
    pub(super) fn fill(&self, query: &str) -> String {
        let filled = query
            .replace("$__rate_interval", "30s")
            .replace("$job", self.job)
            .replace("$instance", self.instance);
        assert!(!filled.contains('$'), "{filled}");
        filled
    }
}

pub(super) struct Dashboard(Value);

impl Dashboard {
    pub(super) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/dashboard.json");
        let text = fs::read_to_string(path).expect("a dashboard");
        // Where a template's tag would begin, rendering would change the file.
        for tag in ["{{", "{%", "{#"] {
            assert!(!text.contains(tag), "{tag}");
        }
        Self(serde_json::from_str(&text).expect("JSON"))
    }

    fn panels(&self) -> &Vec<Value> {
        self.0["panels"].as_array().expect("panels")
    }

    fn variables(&self) -> &Vec<Value> {
        self.0["templating"]["list"].as_array().expect("variables")
    }

    /// The query of every target of every panel.
    pub(super) fn queries(&self) -> Vec<String> {
        let queries = |panel: &Value| {
            let targets = panel["targets"].as_array().expect("targets");
            assert!(!targets.is_empty(), "{}", panel["title"]);
            let query = |target: &Value| target["expr"].as_str().expect("a query").to_owned();
            targets.iter().map(query).collect::<Vec<_>>()
        };
        self.panels().iter().flat_map(queries).collect()
    }

    /// The only query of a panel.
    pub(super) fn query(&self, title: &str) -> String {
        let panel = self.panels().iter().find(|panel| panel["title"] == title);
        let targets = panel.expect(title)["targets"].as_array();
        let [target] = &targets.expect("targets")[..] else {
            panic!("{title} has more than one query");
        };
        target["expr"].as_str().expect("a query").to_owned()
    }

    /// A variable's `label_values(SELECTOR, LABEL)`.
    pub(super) fn label_values(&self, variable: &str) -> (String, String) {
        let variable = self.variables().iter().find(|v| v["name"] == variable);
        let query = variable.expect("the variable")["query"]["query"].as_str();
        query
            .and_then(|query| query.strip_prefix("label_values("))
            .and_then(|query| query.strip_suffix(')'))
            .and_then(|query| query.rsplit_once(", "))
            .map(|(selector, label)| (selector.to_owned(), label.to_owned()))
            .expect("label_values")
    }

    /// Each panel has an id of its own and lies alone on a grid of 24 columns.
    pub(super) fn assert_panels_are_apart(&self) {
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in self.panels() {
            let title = &panel["title"];
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}");
            let at = |key: &str| panel["gridPos"][key].as_u64().expect("a position");
            assert!(at("w") > 0 && at("h") > 0, "{title}");
            assert!(at("x") + at("w") <= 24, "{title}");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{title} covers another panel");
                }
            }
        }
        // Nothing is left empty between the panels.
        let height = taken.iter().map(|(_, y)| y + 1).max().expect("panels");
        assert_eq!(taken.len() as u64, 24 * height);
    }

    /// Panels, targets and variables ask the source of this uid.
    pub(super) fn assert_one_source(&self, uid: &str) {
        let targets = |panel: &'_ Value| panel["targets"].as_array().expect("targets").clone();
        let askers = self.panels().iter().cloned();
        let askers = askers.chain(self.panels().iter().flat_map(targets));
        for asker in askers.chain(self.variables().iter().cloned()) {
            assert_eq!(asker["datasource"]["uid"], uid, "{asker}");
            assert_eq!(asker["datasource"]["type"], "prometheus", "{asker}");
        }
    }

    /// Every selector of every query is narrowed by job and by node.
    pub(super) fn assert_selectors_are_obeyed(&self) {
        for query in self.queries() {
            let selectors = query.matches('{').count();
            assert!(selectors > 0, "{query}");
            for matcher in ["job=~\"$job\"", "instance=~\"$instance\""] {
                assert_eq!(query.matches(matcher).count(), selectors, "{query}");
            }
        }
        for variable in self.variables() {
            assert_eq!(variable["multi"], true);
            assert_eq!(variable["includeAll"], true);
            assert_eq!(variable["allValue"], ".*");
        }
        let labels: Vec<_> = self.variables().iter().map(|v| &v["label"]).collect();
        assert_eq!(labels, ["Job", "Node"]);
    }
}
