//! Typed events that work sends to an injected sink.

/// Something long is going on. One task, one name: `raspberrypi2`, `base`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A task of `total` bytes begins.
    Started {
        /// Whose work it is: a hostname, or the base's file name.
        task: &'a str,
        /// What is done, as a gerund a person reads: `decoding`, `writing`.
        verb: &'static str,
        /// Bytes to go through; 0 where nobody knows.
        total: u64,
    },
    /// `done` bytes were behind us when the task began: they say nothing of its speed.
    Resumed {
        /// The task's name, as in [`Event::Started`].
        task: &'a str,
        /// Bytes done before, of the `total` announced.
        done: u64,
    },
    /// `done` bytes of the task are behind us.
    Progressed {
        /// The task's name, as in [`Event::Started`].
        task: &'a str,
        /// Bytes done so far, of the `total` announced.
        done: u64,
    },
    /// The task is over, well or badly; the result travels by return value.
    Ended {
        /// The task's name, as in [`Event::Started`].
        task: &'a str,
    },
    /// Something the user should know that stops nothing.
    Noticed {
        /// A whole sentence.
        message: &'a str,
    },
}

/// Where events go. Implementations must be quick: they run inside the work.
pub trait Sink: Sync {
    /// Takes one event.
    fn send(&self, event: Event<'_>);
}

/// Drops every event: for tests and for `--quiet`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Sink for Silent {
    fn send(&self, _event: Event<'_>) {}
}
