//! What a card says of itself, which `inspect`, `status` and the question before
//! flashing read.

use crate::provision::Report;
use crate::provision::marker::Marker;

/// Text as a card's `cardmint.toml` and as its `cardmint-report.txt`.
///
/// # Panics
/// Where a marker is another one once it was written, or a report says what a terminal
/// would obey.
pub(super) fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(marker) = Marker::parse(&text) {
        let again = Marker::parse(&marker.render().unwrap()).unwrap();
        assert_eq!(marker, again);
        let told = [&marker.hostname, &marker.cluster, &marker.host_key];
        assert!(!told.iter().any(|text| text.contains(char::is_control)));
    }
    let Ok(report) = Report::parse(&text) else {
        return;
    };
    assert!(report.steps.len() + report.unreadable <= text.lines().count());
    let shown = report.to_string();
    assert!(!shown.replace('\n', "").contains(char::is_control));
    assert_eq!(shown.lines().count(), report.steps.len() + 1);
    let names = [report.node.as_deref(), report.instance.as_deref()];
    assert!(
        names
            .into_iter()
            .flatten()
            .all(|name| !name.contains(char::is_control))
    );
}
