//! Provisioning as a whole: what it renders, and what becomes of it.

pub(super) mod fixtures;
mod judged;
mod lived;
mod rendered;
