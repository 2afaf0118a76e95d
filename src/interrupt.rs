//! Ctrl-C as a value: work asks between steps whether it should stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once, by a signal handler, when the user wants the program to stop.
///
/// Long work calls [`Interrupt::check`] between chunks and returns the error
/// upwards; temporary files vanish as their owners are dropped.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// The user asked to stop; nothing was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; nothing unfinished was kept")]
pub struct Interrupted;

impl Interrupt {
    /// The flag itself, for a signal handler to set.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Fails once the user has asked to stop.
    ///
    /// # Errors
    /// [`Interrupted`], from the moment the flag is set.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.0.load(Ordering::Relaxed) {
            Err(Interrupted)
        } else {
            Ok(())
        }
    }
}
