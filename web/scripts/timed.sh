#!/bin/sh
# Runs a test binary of cargo so that it prints how long each test took: the option is there on every compiler, behind this variable.
# Whatever else cargo runs (documentation tests) runs as it is.
case $1 in
*/deps/*) RUSTC_BOOTSTRAP=1 exec "$@" -Zunstable-options --report-time ;;
*) exec "$@" ;;
esac
