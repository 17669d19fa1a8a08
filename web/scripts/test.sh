#!/bin/sh
# Every check and every test of the repository; goes on after a failure and ends with one line: "N passed, N failed".
# A check (formatting, lints, types, build) that fails counts as one failed test; one that succeeds is not counted.
. "$(dirname "$0")/common.sh"

sh web/scripts/system.sh native vulkan
# Without these everything else can be tested; what needs them fails.
missing=
for part in browser firefox llama spirv; do sh web/scripts/system.sh $part || missing="$missing $part"; done
make --no-print-directory web/node_modules/.package-lock.json

logs=target/test-logs
rm -rf "$logs"
mkdir -p "$logs"
passed=0
failed=0

# run NAME COMMAND...   its output goes to the terminal and to $logs/NAME; status says how it ended.
run() {
    name=$1
    shift
    step "$name"
    {
        code=0
        "$@" 2>&1 || code=$?
        echo "$code" >"$logs/$name.status"
    } | tee "$logs/$name"
    # Nothing there is a failure, too.
    status=$(cat "$logs/$name.status" 2>/dev/null || true)
    status=${status:-1}
}
# sum PATTERN   adds up the numbers that the pattern finds in the last command's output, colors taken off.
sum() { sed 's/\x1b\[[0-9;]*m//g' "$logs/$name" | sed -n "s/$1/\\1/p" | awk '{ n += $1 } END { print n + 0 }'; }
# count PASSED FAILED   adds the results of a test runner; one that fails without a failed test counts as one.
count() {
    passed=$((passed + $1))
    if [ "$2" = 0 ] && [ "$status" != 0 ]; then failed=$((failed + 1)); else failed=$((failed + $2)); fi
    say "$name: $1 passed, $2 failed, exit status $status"
}
check() {
    run "$@"
    if [ "$status" != 0 ]; then
        failed=$((failed + 1))
        say "$name: failed"
    fi
}
# beside NAME COMMAND...   runs it beside what follows; after `wait`, `ended NAME` gives its output and its status.
beside() {
    name=$1
    shift
    { "$@" >"$logs/$name.beside" 2>&1 && echo 0 || echo "$?"; } >"$logs/$name.ended" &
}
ended() {
    cat "$logs/$1.beside"
    code=$(cat "$logs/$1.ended") || code=1
    return "${code:-1}"
}
# What runs beside hears no Ctrl-C.
trap 'kill 0' INT

# Most of what a test on a GPU in software costs is compiling its shaders. Mesa's driver keeps what it has compiled, as those of graphics
# cards do; here, so that it does not depend on a home folder. A new driver, or another shader, finds nothing there.
MESA_SHADER_CACHE_DIR=$root/target/shader-cache
export MESA_SHADER_CACHE_DIR
mkdir -p "$MESA_SHADER_CACHE_DIR"

check fmt cargo fmt --all --check
check clippy sh web/scripts/lint.sh
# One more at a time than there are cores: a test waits for its device, and for the programs that it starts.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(getconf _NPROCESSORS_ONLN) + 1))}
export RUST_TEST_THREADS
# Each test with its time, for the list at the end.
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
run cargo-test env "CARGO_TARGET_${host}_RUNNER=sh $root/web/scripts/timed.sh" cargo test --release --workspace --exclude peregrine-web --no-fail-fast
count "$(sum '^test result: .* \([0-9]*\) passed;.*')" "$(sum '^test result: .* \([0-9]*\) failed;.*')"

check clippy-wasm sh web/scripts/wasm.sh check
check page make --no-print-directory page
# Nothing behind it needs cargo. It waits for one crate at times, and is done long before the browser tests.
beside packages sh web/scripts/packages.sh
check types sh -c 'cd web && npm run --silent check'
check docs sh -c 'cd web && npm run --silent docs'
run node-test sh -c 'cd web && npm run --silent test:unit'
count "$(sum '^[^a-z]*pass \([0-9]*\)$')" "$(sum '^[^a-z]*fail \([0-9]*\)$')"
run browser sh -c 'cd web && npm run --silent test:e2e'
count "$(sum '^ *\([0-9]*\) passed.*')" "$(sum '^ *\([0-9]*\) \(failed\|flaky\|did not run\|interrupted\|skipped\)$')"
wait
check packages ended packages

step "the ten slowest tests"
node web/scripts/slowest.mjs "$logs/cargo-test" "$logs/node-test" "$logs/browser"
say
[ -z "$missing" ] || say "missing:$missing (sh web/scripts/system.sh$missing says what to do)"
say "$passed passed, $failed failed"
[ "$failed" = 0 ]
