//! A line that is typed unseen.

use std::io::{self, ErrorKind};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use signal_hook::consts::SIGINT;

/// What the kernel holds of a line at most: termios(3), canonical mode.
const MAX_LEN: usize = 4096;

/// The terminal of standard input, which shows nothing of what is typed. Dropping it
/// brings back what was.
pub(super) struct Unseen(Termios);

impl Unseen {
    /// Shows nothing from now on; what was typed before does not count.
    ///
    /// # Errors
    /// Where standard input is no terminal.
    pub(super) fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut termios = before.clone();
        // Ctrl-C ends the line instead of sending a signal: a read goes on after one.
        termios.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
        termios.special_codes[SpecialCodeIndex::VEOL] = interrupt_key(&before);
        tcsetattr(io::stdin(), OptionalActions::Flush, &termios)?;
        Ok(Self(before))
    }

    /// Reads a line.
    ///
    /// # Errors
    /// `Interrupted` on Ctrl-C and at the end of the input, otherwise what the operating
    /// system says.
    pub(super) fn read_line(self) -> io::Result<String> {
        // On the heap: what is freed there is wiped.
        let mut line = vec![0; MAX_LEN];
        let read = rustix::io::read(io::stdin(), line.as_mut_slice());
        let interrupt = interrupt_key(&self.0);
        // Before anything else: a second signal may end the program at once, and the
        // terminal must be what it was.
        drop(self);
        line.truncate(read?);
        match line.pop() {
            Some(b'\n') => {}
            Some(key) if key != interrupt => line.push(key),
            _ => {
                // As dialoguer does, for whoever waits for the signal.
                signal_hook::low_level::raise(SIGINT)?;
                return Err(ErrorKind::Interrupted.into());
            }
        }
        String::from_utf8(line).map_err(|_| ErrorKind::InvalidData.into())
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

fn interrupt_key(termios: &Termios) -> u8 {
    termios.special_codes[SpecialCodeIndex::VINTR]
}
