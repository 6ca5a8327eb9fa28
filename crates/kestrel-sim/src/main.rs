//! The command: runs seeds, and says what they found.

fn main() {}
