# Sourced by the other scripts: where the repository is, where tools are, how messages look.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
# rustup installs here, but a fresh shell may not have it on PATH yet.
PATH="$PATH:$HOME/.cargo/bin"
export PATH

# Mesa's Vulkan drivers complain where there is none.
XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-${TMPDIR:-/tmp}}
export XDG_RUNTIME_DIR

say() { printf '%s\n' "$*"; }
step() { printf '\033[1m==> %s\033[0m\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Installs Debian packages; without root through sudo; says what to do where there is no apt.
apt_install() {
    if ! command -v apt-get >/dev/null; then
        die "please install what Debian calls: $* (there is no apt-get here to do it for you)"
    fi
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "please run as root: apt-get install $*"
        as_root=sudo
    fi
    step "installing $*"
    # An old package list may name files that the server no longer has, so refresh it first.
    $as_root apt-get update -qq || say "warning: apt-get update failed; trying with the list that is there"
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        die "apt-get could not install: $*"
}
