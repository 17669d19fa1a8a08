#!/bin/sh
# Usage: system.sh WHAT...   Makes sure that parts of the system are there, installing them where it can.
#   native   compiler, linker, Rust, Node
#   vulkan   a Vulkan driver, software if need be
#   browser  Chromium
#   firefox  Firefox, for tests
#   llama    llama.cpp's server, for tests
#   spirv    spirv-val, for tests
. "$(dirname "$0")/common.sh"

for what in "$@"; do
    case $what in
    native)
        command -v cargo >/dev/null || die "Rust is missing: install it from https://rustup.rs, then run make again"
        command -v cc >/dev/null || apt_install build-essential
        command -v node >/dev/null || die "Node.js is missing: install it from https://nodejs.org"
        node web/scripts/node-version.mjs
        command -v npm >/dev/null || die "npm is missing: it comes with Node.js from https://nodejs.org"
        ;;
    vulkan)
        # macOS has Metal. On Linux a driver is what the loader finds: any ICD file in its folders.
        if [ "$(uname)" = Linux ]; then
            icds=$(find /usr/share/vulkan/icd.d /etc/vulkan/icd.d /usr/local/share/vulkan/icd.d -name '*.json' 2>/dev/null || true)
            loader=$(ldconfig -p 2>/dev/null | grep -c 'libvulkan\.so\.1' || true)
            [ -x /sbin/ldconfig ] && loader=$(/sbin/ldconfig -p | grep -c 'libvulkan\.so\.1' || true)
            if [ -z "$icds" ] || [ "$loader" = 0 ]; then
                apt_install libvulkan1 mesa-vulkan-drivers
            fi
        fi
        ;;
    browser)
        # In a shell of its own: where there is no such package the answer is another one.
        [ -n "$(sh web/scripts/browser.sh)" ] || (apt_install chromium) ||
            die "Chromium is missing: install it (on Ubuntu: snap install chromium), or name a Chromium or Chrome in CHROMIUM=/path"
        ;;
    firefox)
        mac=/Applications/Firefox.app/Contents/MacOS/firefox
        [ -n "${FIREFOX:-}" ] || command -v firefox-esr >/dev/null || command -v firefox >/dev/null || [ -x $mac ] || (apt_install firefox-esr) ||
            die "Firefox is missing: install it (on Ubuntu: snap install firefox), or name one in FIREFOX=/path"
        ;;
    llama)
        version=$(sed -n 's/^xllamacpp==\([^ ]*\).*/\1/p' web/scripts/llama.txt)
        if [ ! -d ".tools/llama/xllamacpp-$version.dist-info" ]; then
            command -v python3 >/dev/null || (apt_install python3) || die "Python is missing: install Python 3.10 or newer"
            python3 -m pip --version >/dev/null 2>&1 || (apt_install python3-pip) || die "pip is missing: install it for python3"
            step "installing llama.cpp's server (the wheel xllamacpp $version)"
            rm -rf .tools/llama
            PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
                --require-hashes --target .tools/llama -r web/scripts/llama.txt ||
                die "llama.cpp's server could not be installed: it wants Python 3.10 or newer, on Linux or a Mac with Apple's processor"
        fi
        ;;
    spirv)
        command -v spirv-val >/dev/null || (apt_install spirv-tools) ||
            die "spirv-val is missing: install spirv-tools (on a Mac: brew install spirv-tools)"
        ;;
    *) die "system.sh: unknown part $what" ;;
    esac
done
