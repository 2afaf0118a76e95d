//! Provisioning as a whole.
