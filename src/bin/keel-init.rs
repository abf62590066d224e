//! `keel-init`: the `/init` of the initrd.

fn main() {}
