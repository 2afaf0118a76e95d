//! What the bytes of a base mean: partitions, files, OS generation, boards.

pub mod board;
pub mod os;

pub use board::Board;
pub use os::{Arch, Generation, Mechanism, Os};
