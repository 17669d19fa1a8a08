#!/bin/sh
# Usage: wasm.sh build | check
#   build  crates/web and crates/grammar-web -> web/package/wasm (wasm-bindgen output, optimized)
#   check  lints them and crates/openai for wasm32, warnings are errors
# Uses rustup's wasm32 target where it is there or can be had. Where rustup's server cannot be reached, Debian has a
# compiler with the sources of the standard library, which builds that library for wasm32 along the way.
# WASM_TOOLCHAIN=rustup or =debian insists on one.
. "$(dirname "$0")/common.sh"
target=wasm32-unknown-unknown
# The program must be of the very version of the crate.
bindgen_version=$(sed -n '/^name = "wasm-bindgen"$/{n;s/^version = "\(.*\)"/\1/p;}' Cargo.lock)

# The processor's kernels, and every loop that is as simple. All browsers with WebGPU have it, and others since 2021 to 2023.
simd="-C target-feature=+simd128"
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="$simd"

have_target() { [ "${WASM_TOOLCHAIN:-}" != debian ] && [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; }

if ! have_target && command -v rustup >/dev/null && [ "${WASM_TOOLCHAIN:-}" != debian ] && [ ! -e target/wasm-debian ]; then
    step "rustup target add $target"
    timeout 120 rustup target add $target || say "rustup's server does not answer"
fi
have_target || [ "${WASM_TOOLCHAIN:-}" != rustup ] || die "the Rust target is missing: rustup target add $target"

if have_target; then
    run() {
        command=$1
        shift
        cargo "$command" --target $target "$@"
    }
    dir=target/$target
    lint=clippy
else
    say "wasm32: with Debian's Rust"
    for tool in /usr/bin/rustc /usr/bin/cargo /usr/bin/wasm-ld-22; do
        [ -x $tool ] || missing=yes
    done
    [ -d /usr/src/rustc-1.96.0/library ] || ls -d /usr/lib/rustlib/src/rust/library >/dev/null 2>&1 || missing=yes
    [ -z "${missing:-}" ] || apt_install rustc-web cargo-web rust-web-src lld-22
    # Its own folder, so that the two compilers do not throw away each other's work. This cargo takes -Zbuild-std
    # only when told that it is an unstable one.
    run() {
        command=$1
        shift
        # Without rustup's folder: cargo must not find rustup's proxies.
        PATH=/usr/bin:/bin RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTUP_TOOLCHAIN= \
            CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22 \
            /usr/bin/cargo "$command" -Zbuild-std=std,panic_abort --target $target --target-dir target/wasm-debian "$@"
    }
    dir=target/wasm-debian/$target
    # Debian has no clippy for this compiler; its own lints still hold.
    lint=check
fi

# module CRATE NAME GLUE [FLAGS]   builds a crate to web/package/wasm/NAME.js and NAME_bg.wasm; GLUE: an option of wasm-bindgen, or empty.
module() {
    crate=$1
    name=$2
    glue=$3
    shift 3
    run rustc --profile wasm -p "$crate" --lib -- "$@"
    .tools/bin/wasm-bindgen --target web $glue --out-dir target/wasm-out --out-name "$name" \
        "$dir/wasm/$(echo "$crate" | tr - _).wasm"
    # What is alike stands together, which gzip likes: 3% less. Large functions that are called once stay functions:
    # browsers make faster code of the processor's kernels one by one.
    web/node_modules/.bin/wasm-opt -Oz --reorder-functions-by-name --one-caller-inline-max-function-size=400 \
        --enable-bulk-memory --enable-nontrapping-float-to-int \
        --enable-sign-ext --enable-mutable-globals --enable-reference-types --enable-multivalue --enable-simd \
        "target/wasm-out/${name}_bg.wasm" -o target/wasm-out/opt.wasm
    mv target/wasm-out/opt.wasm "web/package/wasm/${name}_bg.wasm"
    # Its comments are in the types, too.
    web/node_modules/.bin/tsc --ignoreConfig --allowJs --noCheck --removeComments --target esnext --module esnext --types '' \
        --outDir web/package/wasm "target/wasm-out/$name.js"
    cp "target/wasm-out/$name.d.ts" "target/wasm-out/${name}_bg.wasm.d.ts" web/package/wasm/
    say "web/package/wasm/$name: $(wc -c <"web/package/wasm/${name}_bg.wasm") bytes," \
        "$(gzip -9c "web/package/wasm/${name}_bg.wasm" | wc -c) after gzip"
}

case ${1:-build} in
check)
    step "cargo $lint, wasm32"
    if [ $lint = clippy ]; then
        cargo clippy --profile wasm -p peregrine-web -p peregrine-grammar-web -p peregrine-openai --target $target -- -D warnings
    else
        RUSTFLAGS="-D warnings $simd" run check --profile wasm -p peregrine-web -p peregrine-grammar-web -p peregrine-openai
    fi
    ;;
build)
    step "wasm"
    if [ "$(.tools/bin/wasm-bindgen --version 2>/dev/null)" != "wasm-bindgen $bindgen_version" ]; then
        step "installing wasm-bindgen $bindgen_version"
        # --locked names exact versions of its dependencies; a registry mirror may not have one of them yet.
        cargo install --quiet --root .tools --version "$bindgen_version" --locked wasm-bindgen-cli ||
            cargo install --quiet --root .tools --version "$bindgen_version" wasm-bindgen-cli
    fi
    mkdir -p web/package/wasm
    module peregrine-web peregrine ""
    # A schema from outside may take it down: it is then begun anew. llguidance calls itself as deep as a grammar is nested.
    module peregrine-grammar-web grammar --experimental-reset-state-function -C link-arg=-zstack-size=8388608
    ;;
*) die "usage: wasm.sh build | check" ;;
esac
