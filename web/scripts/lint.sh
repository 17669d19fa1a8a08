#!/bin/sh
# Lints everything that is not wasm. Warnings are errors with the compiler that this repository is developed with; another
# one may have lints that nobody here has seen yet.
. "$(dirname "$0")/common.sh"
step "formatting of the block formats, which stand in a macro"
rustfmt --edition 2024 --check crates/formats/src/blocks/*.rs
step "comments of at most 100 columns, but for tables and commands"
whole=' *(//[/!]?|/?\*+)( [^|`]|$)'
behind_code='([^"`]|"[^"]*"|`[^`]*`)*[^ :"`] +//( |$)'
if LC_ALL=C.UTF-8 git grep -nE '^.{101,}' -- '*.rs' '*.wgsl' '*.ts' '*.mjs' '*.js' '*.svelte' '*.css' |
    LC_ALL=C.UTF-8 grep -E "^[^:]+:[0-9]+:($whole|$behind_code)"; then
    die "these comments are too long"
fi
step "clippy, native"
case $(rustc --version) in
*" 1.95."*) deny="-D warnings" ;;
*) deny="" ;;
esac
# shellcheck disable=SC2086  # no word at all when empty
cargo clippy --release --workspace --exclude peregrine-web --all-targets -- $deny
