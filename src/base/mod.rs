//! Where bytes come from: the stock image, read-only, by random access.

pub mod digest;
pub mod read_at;

pub use digest::Sha256Digest;
pub use read_at::{MemBase, ReadAt};
