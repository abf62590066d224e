//! `keel`, and `activate` under its second name.

fn main() {}
