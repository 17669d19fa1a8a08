//! `make hashes`: writes anew what `unchanged.rs` compares with.

#![allow(clippy::unwrap_used)] // what is shared with the tests unwraps like a test

mod unchanged;

fn main() -> std::io::Result<()> {
    std::fs::write(unchanged::path(), unchanged::found())
}
