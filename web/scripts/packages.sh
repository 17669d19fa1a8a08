#!/bin/sh
# Usage: packages.sh [quick]
# Packages every crate as `cargo publish` would, and compiles what is in the packages, apart from this repository: all of them with
# their default features, the runtime with none and with each. What a user sees as documentation has no warnings.
# quick: packages them, and compiles only the runtime without features, as it lies here.
. "$(dirname "$0")/common.sh"
step "packages"
# Nothing that was here before is in them.
out=target/packages
rm -rf $out
cargo package --quiet --workspace --exclude peregrine-tests --no-verify --allow-dirty --target-dir $out
if [ "${1:-}" = quick ]; then
    rm -rf $out
    exec cargo check --quiet --release -p peregrine --no-default-features
fi
mkdir $out/unpacked
for package in $out/package/*.crate; do tar -xzf "$package" -C $out/unpacked; done
{
    echo '[workspace]'
    echo 'resolver = "3"'
    echo 'members = ["*"]'
    echo '[patch.crates-io]'
    for folder in $out/unpacked/*/; do
        folder=$(basename "$folder")
        echo "${folder%-*} = { path = \"$folder\" }"
    done
} >$out/unpacked/Cargo.toml
cp Cargo.lock $out/unpacked/
# In the repository's own target folder, where the lints have left all dependencies.
verify() {
    command=$1
    shift
    RUSTDOCFLAGS="-D warnings" cargo "$command" --quiet --release --manifest-path $out/unpacked/Cargo.toml --target-dir target "$@"
}
verify check --workspace --exclude peregrine-web
for features in "" http hub; do verify check -p peregrine --no-default-features --features "$features"; done
# These see of the runtime what everybody does, and are documented so; the others see what only the workbench calls, too.
verify check -p peregrine -p peregrine-openai -p peregrine-grammar
verify doc --no-deps -p peregrine -p peregrine-openai -p peregrine-grammar
verify doc --no-deps --workspace --exclude peregrine-web --exclude peregrine-cli \
    --exclude peregrine --exclude peregrine-openai --exclude peregrine-grammar
rm -rf $out
