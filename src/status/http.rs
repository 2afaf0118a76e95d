//! Exporters, Prometheus and Grafana, asked by HTTP.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use ureq::Agent;

use crate::cluster::monitoring::{EXPORTER_PORT, GRAFANA_PORT, PROMETHEUS_PORT};

/// An exporter on a Zero takes a second or two for all of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// An exporter says some 100 KB; ten thousand nodes are some megabytes of `up`.
const MAX_LEN: u64 = 16 << 20;

/// Never through a proxy: what is asked for is on the local network.
pub(super) fn agent() -> Agent {
    Agent::config_builder()
        .proxy(None)
        // Nor to another machine.
        .max_redirects(0)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

/// Whether a node exporter answers.
pub(super) fn exporter(agent: &Agent, address: IpAddr) -> Result<(), String> {
    let text = get(agent, address, EXPORTER_PORT, "metrics")?;
    if text.lines().any(|line| line.starts_with("node_")) {
        return Ok(());
    }
    Err(format!(
        "what answers at port {EXPORTER_PORT} is no node exporter"
    ))
}

/// Which instances Prometheus reaches.
pub(super) fn scraped(agent: &Agent, address: IpAddr) -> Result<BTreeMap<String, bool>, String> {
    let text = get(agent, address, PROMETHEUS_PORT, "api/v1/query?query=up")?;
    up(&text).ok_or_else(|| format!("what answers at port {PROMETHEUS_PORT} is no Prometheus"))
}

/// Whether Grafana is up.
pub(super) fn grafana(agent: &Agent, address: IpAddr) -> Result<(), String> {
    let text = get(agent, address, GRAFANA_PORT, "api/health")?;
    match is_grafana(&text) {
        true => Ok(()),
        false => Err(format!("what answers at port {GRAFANA_PORT} is no Grafana")),
    }
}

/// By what it says of its health.
fn is_grafana(text: &str) -> bool {
    let health: Option<Health> = serde_json::from_str(text).ok();
    health.is_some_and(|health| !health.database.is_empty())
}

#[derive(Deserialize)]
struct Health {
    database: String,
}

fn get(agent: &Agent, address: IpAddr, port: u16, path: &str) -> Result<String, String> {
    let url = format!("http://{}/{path}", SocketAddr::from((address, port)));
    let mut answer = agent.get(&url).call().map_err(|error| in_words(&error))?;
    if answer.status() != 200 {
        return Err(format!(
            "its answer is HTTP status {}",
            answer.status().as_u16()
        ));
    }
    let body = answer.body_mut().with_config().limit(MAX_LEN);
    body.read_to_string().map_err(|error| in_words(&error))
}

/// The common cases without numbers that say nothing.
fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
            "nothing listens there".to_owned()
        }
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// The answer of Prometheus' HTTP API to an instant query.
#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    metric: BTreeMap<String, String>,
    /// Time, and the value as text.
    value: (f64, String),
}

pub(crate) fn up(text: &str) -> Option<BTreeMap<String, bool>> {
    let answer: Answer = serde_json::from_str(text).ok()?;
    let mut all = BTreeMap::new();
    for sample in answer.data.result {
        if let Some(instance) = sample.metric.get("instance") {
            // Where two jobs watch a node, one that reaches it is enough.
            let is_up = all.entry(instance.clone()).or_insert(false);
            *is_up |= sample.value.1 == "1";
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::{is_grafana, up};

    #[test]
    fn prometheus_says_whom_it_reaches() {
        let text = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"__name__":"up","instance":"a","job":"a"},"value":[1.5,"1"]},
            {"metric":{"__name__":"up","instance":"b","job":"b"},"value":[1,"0"]},
            {"metric":{"__name__":"up","instance":"a","job":"x"},"value":[1,"0"]}]}}"#;
        let all = up(text).unwrap();
        assert_eq!(all.get("a"), Some(&true));
        assert_eq!(all.get("b"), Some(&false));
        assert_eq!(all.len(), 2);
        assert_eq!(up("<html>"), None);
    }

    #[test]
    fn grafana_is_known_by_its_health() {
        let health = r#"{"commit":"0","database":"ok","version":"11.0.0"}"#;
        assert!(is_grafana(health));
        for other in ["", "<html>", "{}", r#"{"status":"ok"}"#, "[]"] {
            assert!(!is_grafana(other), "{other}");
        }
    }
}
