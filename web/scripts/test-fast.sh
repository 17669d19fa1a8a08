#!/bin/sh
# What needs neither a GPU nor a browser: formatting, lints, types, and the tests that only compute. Stops at the first failure.
. "$(dirname "$0")/common.sh"

sh web/scripts/system.sh native
# Types come from the built package.
make --no-print-directory web/package/dist/index.js

step "formatting"
cargo fmt --all --check
sh web/scripts/lint.sh
step "tests without a GPU"
# The same packages as in `make test`: others would be built anew with other features.
tests="cargo test --release --workspace --exclude peregrine-web"
$tests --lib
# Modules of tests/all.rs; one test of `shaders` opens a device.
$tests --test all -- chat:: checkpoint:: family:: fuzz:: sampling:: shaders:: signatures:: text:: vocabulary:: \
    --skip a_pipeline_that_fails_is_reported_by_name
$tests --test cli --test hub --test net --test requests
step "types"
for part in package chat e2e; do (cd web && node_modules/.bin/tsc -p "$part"); done
(cd web && npm run --silent test:unit)
