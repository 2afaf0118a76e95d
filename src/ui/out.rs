//! Standard output that somebody may stop reading.

use std::io::{self, ErrorKind, Write};

/// Takes everything, and drops what nobody reads any more: whoever closed the pipe has
/// seen enough, and still gets what was asked for, and its exit code.
///
/// Only [`Write::flush`] tells of a closed pipe, for who must be sure to be read.
#[derive(Debug)]
pub struct Out<W> {
    inner: W,
    is_closed: bool,
}

impl<W: Write> Out<W> {
    /// What goes to `inner`, while that is read.
    #[must_use]
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            is_closed: false,
        }
    }

    /// Brings everything out, as far as it is read.
    ///
    /// # Errors
    /// What the operating system says, but of a closed pipe.
    pub fn finish(mut self) -> io::Result<()> {
        match self.flush() {
            Err(_) if self.is_closed => Ok(()),
            result => result,
        }
    }
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Ok(bytes.len());
        }
        match self.inner.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(bytes.len())
            }
            result => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.is_closed {
            let result = self.inner.flush();
            self.is_closed = matches!(&result, Err(error) if error.kind() == ErrorKind::BrokenPipe);
            result?;
        }
        if self.is_closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody who reads this much, and then fails so.
    struct Reader(usize, ErrorKind);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            match taken {
                0 => Err(self.1.into()),
                taken => Ok(taken),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_ends_nothing_and_is_told_to_who_asks() {
        let mut out = Out::new(Reader(3, ErrorKind::BrokenPipe));
        out.write_all(b"more than that").unwrap();
        out.write_all(b"and more").unwrap();
        assert_eq!(out.flush().unwrap_err().kind(), ErrorKind::BrokenPipe);
        out.finish().unwrap();
    }

    #[test]
    fn other_failures_stay_what_they_are() {
        let mut out = Out::new(Reader(3, ErrorKind::StorageFull));
        let error = out.write_all(b"more than that").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        out.finish().unwrap();
    }
}
