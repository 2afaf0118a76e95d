//! Progress for programs: one JSON object per line on standard output.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::report::event::{Event, Sink};

/// A task's progress is told at most this often.
const PAUSE: Duration = Duration::from_millis(500);

/// Turns events into lines.
#[derive(Debug, Default)]
pub struct JsonLines {
    told: Mutex<HashMap<String, Instant>>,
}

impl JsonLines {
    fn is_due(&self, task: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match told.get(task) {
            Some(last) if now.duration_since(*last) < PAUSE => false,
            _ => {
                told.insert(task.to_owned(), now);
                true
            }
        }
    }
}

impl Sink for JsonLines {
    fn send(&self, event: Event<'_>) {
        let line = match event {
            Event::Started { task, verb, total } => {
                json!({ "event": "started", "task": task, "verb": verb, "total": total })
            }
            Event::Resumed { task, done } => {
                json!({ "event": "progressed", "task": task, "done": done })
            }
            Event::Progressed { task, done } if self.is_due(task) => {
                json!({ "event": "progressed", "task": task, "done": done })
            }
            Event::Progressed { .. } => return,
            Event::Ended { task } => json!({ "event": "ended", "task": task }),
            Event::Noticed { message } => json!({ "event": "noticed", "message": message }),
        };
        // Whoever closed the pipe has seen enough; the cards matter more.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
