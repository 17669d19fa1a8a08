#!/bin/sh
# Usage: dawn.sh FILE.tgz   Packs what the bench of the wasm build needs on a machine without Node and without a network: Node, Dawn
# (the npm package `webgpu`), the built package, and e2e/node/bench.mjs. There: tar -xzf FILE.tgz; ./node bench.mjs MODEL.gguf
. "$(dirname "$0")/common.sh"
[ -n "${1:-}" ] || die "which file? dawn.sh FILE.tgz"
for needed in web/package/dist/index.js web/package/wasm/peregrine_bg.wasm web/node_modules/webgpu/index.js; do
    [ -e $needed ] || die "$needed is missing: make web/package/dist/index.js"
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
platform=$(node -p 'process.platform + "-" + process.arch')
mkdir -p "$folder/node_modules/webgpu/dist" "$folder/node_modules/peregrine"
cp "$(node -p process.execPath)" "$folder/node"
strip -s "$folder/node" 2>/dev/null || say "no strip here: Node stays as large as it is"
cp web/node_modules/webgpu/index.js web/node_modules/webgpu/package.json "$folder/node_modules/webgpu/"
cp -r "web/node_modules/webgpu/dist/$platform" "$folder/node_modules/webgpu/dist/"
cp -r web/package/dist web/package/wasm web/package/package.json "$folder/node_modules/peregrine/"
cp web/e2e/node/bench.mjs "$folder/"
tar -C "$folder" -czf "$1" .
say "$1: $(wc -c <"$1") bytes"
