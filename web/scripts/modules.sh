#!/bin/sh
# The npm packages of package-lock.json; no browser is downloaded, the tests use the system's.
. "$(dirname "$0")/common.sh"
step "npm packages"
cd web
PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-progress --loglevel=error
(cd package/test/types && npm ci --no-progress --loglevel=error)
touch node_modules/.package-lock.json
