#!/bin/sh
# What needs neither a GPU nor a browser: formatting, lints, types, and the tests that only compute. Stops at the first failure.
. "$(dirname "$0")/common.sh"

sh web/scripts/system.sh native llama spirv
# Types come from the built package, and sizes from the built page.
make --no-print-directory page

step "formatting"
cargo fmt --all --check
sh web/scripts/lint.sh
sh web/scripts/packages.sh quick
step "tests without a GPU"
# The same packages as in `make test`: others would be built anew with other features.
tests="cargo test --release --workspace --exclude peregrine-web"
$tests --lib --bins -- --skip after_a_loss_the_model_is_loaded_again
# Modules of tests/all.rs: those that compute here, and those that open a device.
without="backends chat checkpoint family fuzz jinja sampling shaders signatures source synth text tokens vocabulary"
with="adapters damage gpu_sampling fidelity footprint gptq grammar limits mixes model processor saved selfcheck session snapshots toy unchanged"
filters=
for module in $(sed -n 's/^mod \([a-z_]*\);$/\1/p' tests/all.rs); do
    case " $without : $with " in
    *" $module "*:*) filters="$filters $module::" ;;
    *:*" $module "*) ;;
    *) die "tests/all.rs has a module $module: say in web/scripts/test-fast.sh whether it opens a device" ;;
    esac
done
# A few tests of the others open one.
# shellcheck disable=SC2086  # a word for each module
$tests --test all -- $filters --skip a_pipeline_that_fails_is_reported_by_name --skip a_random_model_computes_like_a_model
$tests --test cache --test cli --test given --test hub --test net --test requests --test results -- \
    --skip a_prompt_from_a_file_is_read_as_it_is --skip bad_states_are_one_line --skip results_of_a_model_are_whole_or_not_there
step "types"
for part in package chat e2e; do (cd web && node_modules/.bin/tsc -p "$part"); done
(cd web && npm run --silent test:unit)
