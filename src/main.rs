//! Parses, runs a command, turns an error into a message and an exit code.
fn main() {}
