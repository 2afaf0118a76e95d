//! Promises of cardmint, checked from outside: the binary runs, and
//! independent tools judge what it made.
