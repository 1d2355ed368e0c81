//! The device process of the Sconce inference server.

fn main() {}
