//! What `status` is told: by ssh, by a node's shell, and by Prometheus.

use crate::status::{Reach, up, what_ssh_said};

/// Text as what ssh prints, on standard output and, behind a NUL, standard error; and
/// as the answer of Prometheus.
///
/// # Panics
/// Where a node is let in whose key ssh did not call known in words of its own, a key
/// is named that ssh has not shown, or something would steer a terminal.
pub(super) fn answers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    drop(up(&text));
    let (stdout, stderr) = text.split_once('\0').unwrap_or((&text, ""));
    // What the other side has sent begins there.
    let starts = [
        "debug1: ssh_exchange_identification: ",
        "debug1: Remote: ",
        "Received disconnect from ",
        "Unable to negotiate with ",
    ];
    let lines = stderr.split_inclusive('\n');
    let is_own = |line: &&str| !starts.iter().any(|start| line.starts_with(start));
    let own: String = lines.take_while(is_own).collect();
    for code in [Some(0), Some(255), None] {
        let (reach, told) = what_ssh_said(code, stdout, stderr);
        let is_itself = own.contains("is known and matches") && own.contains("NEWKEYS received");
        assert!(is_itself || !matches!(reach, Reach::In | Reach::LockedOut(_)));
        if let Reach::Impostor(Some(key)) = &reach {
            let is_shown = |word: &str| word.replace(char::is_control, "\u{fffd}") == *key;
            assert!(own.split_whitespace().any(is_shown), "{key:?}");
        }
        assert_eq!(told.is_some(), reach == Reach::In);
        let said = match &reach {
            Reach::NoAddress(text) | Reach::NotYet(text) | Reach::LockedOut(text) => text.clone(),
            Reach::Impostor(key) => key.clone().unwrap_or_default(),
            Reach::Silent | Reach::In => String::new(),
        };
        assert!(!said.contains(char::is_control), "{said:?}");
        if let Some(told) = told {
            let shown = serde_json::to_value(&told).unwrap();
            assert!(is_plain(&shown), "{shown}");
        }
    }
}

/// Whether no text in it holds control characters.
fn is_plain(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => !text.contains(char::is_control),
        serde_json::Value::Array(list) => list.iter().all(is_plain),
        serde_json::Value::Object(map) => map.values().all(is_plain),
        _ => true,
    }
}
