//! Memory that direct I/O accepts.

/// Alignment that every block device we may meet is content with.
pub(crate) const ALIGN: usize = 4096;

/// A buffer whose first byte lies on a multiple of [`ALIGN`].
pub(crate) struct AlignedBuf {
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl std::fmt::Debug for AlignedBuf {
    /// Leaves the bytes out: they may hold a node's secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

impl AlignedBuf {
    /// A zeroed buffer of `len` bytes.
    pub(crate) fn new(len: usize) -> Self {
        let storage = vec![0; len + ALIGN];
        let start = storage.as_ptr().align_offset(ALIGN);
        // `align_offset` may give up in theory; direct I/O then says EINVAL,
        // and the caller falls back to buffered I/O.
        let start = if start <= ALIGN { start } else { 0 };
        Self {
            storage,
            start,
            len,
        }
    }

    /// A copy of `bytes`.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut buf = Self::new(bytes.len());
        buf.copy_from_slice(bytes);
        buf
    }
}

impl std::ops::Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }
}
