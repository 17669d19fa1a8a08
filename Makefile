# make chat    builds everything and serves the chat page
# make test    runs every test, native and in a browser
# make test-fast   formatting, lints, types, and all tests that need neither GPU nor browser
# make bench   speed of the embedded model, natively and in the browser; make bench-compare BASE=COMMIT: ratios to a commit
# make bench-browser   speed of the same models in Chromium (CHROME=PATH) on this GPU, beside the native one of the same run
# make bench-cpu   speed on the processor beside llama.cpp's CPU build: the same files, in turns
# make bench-wllama   speed on the processor in Chromium beside wllama: ARGS="FILE.gguf --repeat 3"
# make bench-table   speed of random models of official shapes on this GPU, checked in the same run
# make fidelity   how exact the logits are in each format, and what the formats cost
# make check   formatting and lints only
# make types   writes anew the package's types of OpenAI's API, which are made from the crate's
# make hashes  writes anew what tests/unchanged.rs compares shaders and plans with
# Whatever is missing on this machine is installed first (Debian packages through apt-get, with sudo when not root).

PORT ?= 8317
export PATH := $(PATH):$(HOME)/.cargo/bin
export XDG_RUNTIME_DIR ?= $(or $(TMPDIR),/tmp)

model := models/tiny/peregrine-tiny-chat-Q4_0.gguf
rust := Cargo.toml Cargo.lock $(shell find crates/formats crates/peregrine crates/workbench crates/grammar crates/grammar-web crates/openai crates/web shaders -type f)
wasm := web/package/wasm/peregrine_bg.wasm
modules := web/node_modules/.package-lock.json
package := web/package/dist/index.js
page := web/chat/dist/index.html

.PHONY: help chat test test-fast bench bench-cpu bench-browser bench-wllama bench-table bench-compare fidelity check hashes types fmt native wasm page clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//; 1,12p' Makefile

chat: tools native $(page)
	@node web/scripts/chat.mjs --port $(PORT)

test:
	@sh web/scripts/test.sh

test-fast:
	@sh web/scripts/test-fast.sh

bench: native $(page)
	@sh web/scripts/system.sh browser
	@target/release/peregrine bench $(model) --prompt-tokens 50 --gen-tokens 32
	@cd web && npm run --silent bench

bench-browser: native $(page)
	@sh web/scripts/system.sh browser
	@node web/scripts/bench-browser.mjs $(ARGS)

bench-cpu: native
	@sh web/scripts/system.sh llama
	@python3 web/scripts/bench-cpu.py $(ARGS)

bench-wllama: $(package)
	@sh web/scripts/system.sh browser
	@node web/scripts/bench-wllama.mjs $(ARGS)

bench-table: native
	@target/release/peregrine bench-table $(ARGS)

bench-compare: native
	@node web/scripts/compare.mjs $(BASE) $(ARGS)

fidelity: native $(page)
	@sh web/scripts/system.sh browser
	@target/release/peregrine fidelity --device gpu
	@target/release/peregrine perplexity $(model) --device gpu --text tests/text/perplexity.txt --types all
	@cd web/e2e && FIDELITY=all ../node_modules/.bin/playwright test fidelity.spec.ts

check: tools $(modules)
	@cargo fmt --all --check
	@sh web/scripts/lint.sh
	@sh web/scripts/wasm.sh check

types: tools
	@TYPES=write cargo test --release -q --workspace --exclude peregrine-web --lib types

hashes: tools
	@cargo run --release -p peregrine-tests --example hashes

fmt:
	@cargo fmt --all
	@rustfmt --edition 2024 crates/formats/src/blocks/*.rs

.PHONY: tools
tools:
	@sh web/scripts/system.sh native vulkan

native: tools
	@cargo build --release -p peregrine-cli

wasm: $(wasm)
page: $(page)

# Whatever says which packages there are.
$(modules): web/package-lock.json $(wildcard web/package.json web/*/package.json web/package/test/types/package*.json web/package/test/types/.npmrc) web/scripts/modules.sh
	@sh web/scripts/modules.sh

$(wasm): $(rust) $(modules) web/scripts/wasm.sh
	@sh web/scripts/wasm.sh build

$(package): $(wasm) $(modules) $(model) web/package/tsconfig.json web/package/commonjs.mjs $(shell find web/package/src -type f)
	@rm -rf web/package/dist web/package/models
	@cd web && npm run --silent build -w peregrine
	@mkdir -p web/package/models && cp $(model) web/package/models/
	@touch $@

$(page): $(package) $(model) web/chat/index.html web/chat/vite.config.js $(shell find web/chat/src web/chat/public -type f)
	@cd web/chat && ../node_modules/.bin/vite build --logLevel warn
	@touch $@

# Everything that git ignores, except what a model was trained with (models/tiny/build).
clean:
	rm -rf target .tools web/node_modules web/*/node_modules web/*/dist web/package/wasm web/package/models
	rm -rf web/package/test/types/node_modules web/e2e/test-results web/e2e/apps/*/node_modules web/e2e/apps/*/dist web/examples/*/node_modules web/examples/*/dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
