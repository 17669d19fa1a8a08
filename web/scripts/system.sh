#!/bin/sh
# Usage: system.sh WHAT...   Makes sure that parts of the system are there, installing them where it can.
#   native   compiler, linker, Rust, Node
#   vulkan   a Vulkan driver, software if need be
#   browser  Chromium
#   firefox  Firefox, for tests
. "$(dirname "$0")/common.sh"

for what in "$@"; do
    case $what in
    native)
        command -v cargo >/dev/null || die "Rust is missing: install it from https://rustup.rs, then run make again"
        command -v cc >/dev/null || apt_install build-essential
        command -v node >/dev/null || die "Node.js 20 or newer is missing: install it from https://nodejs.org"
        major=$(node -p 'process.versions.node.split(".")[0]')
        [ "$major" -ge 20 ] || die "Node.js 20 or newer is needed, this is $(node --version)"
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
        [ -n "$(sh web/scripts/browser.sh)" ] || apt_install chromium
        ;;
    firefox)
        mac=/Applications/Firefox.app/Contents/MacOS/firefox
        [ -n "${FIREFOX:-}" ] || command -v firefox-esr >/dev/null || command -v firefox >/dev/null || [ -x $mac ] || apt_install firefox-esr
        ;;
    *) die "system.sh: unknown part $what" ;;
    esac
done
