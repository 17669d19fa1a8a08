#!/bin/sh
# Prints the path of a Chromium or Chrome, or nothing. CHROMIUM=/path overrides.
if [ -n "${CHROMIUM:-}" ]; then
    echo "$CHROMIUM"
    exit
fi
for name in chromium chromium-browser google-chrome-stable google-chrome; do
    if path=$(command -v "$name"); then
        echo "$path"
        exit
    fi
done
mac="/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
[ -x "$mac" ] && echo "$mac"
exit 0
