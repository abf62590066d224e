# Sourced by `run` and `demo`: installs the Debian packages of packages.txt that are missing, then builds the suite.
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."

missing=""
while read -r package; do
    case $package in "" | "#"*) continue ;; esac
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done <"$here/packages.txt"
# Keyrings of an early Debian 12 don't know the keys that sign Debian 13.
[ -e /usr/share/keyrings/debian-archive-trixie-automatic.gpg ] || [ -e /usr/share/keyrings/debian-archive-trixie-automatic.pgp ] ||
    missing="$missing debian-archive-keyring"

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
if [ -n "$missing" ]; then
    echo "Installing Debian packages:$missing"
    $sudo apt-get update --quiet=2
    # shellcheck disable=SC2086 # one word a package
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends $missing
fi

if ! command -v cargo >/dev/null && [ -e "$HOME/.cargo/env" ]; then
    . "$HOME/.cargo/env"
fi
if ! command -v cargo >/dev/null; then
    echo "Rust is missing: install it by rustup, then start again." >&2
    exit 1
fi
# Both at once, so that what they share is built once, with all of its features.
cargo build --locked --quiet --release --package qemu-tests --package keel
suite=target/x86_64-unknown-linux-gnu/release/qemu-tests
# Root file systems have owners, device nodes and capabilities, which take root to unpack.
