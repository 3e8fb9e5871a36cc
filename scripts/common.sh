# SPDX-License-Identifier: MIT
# Shared by try and check: packages, and where things are.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Meson and the tests want Debian's own python3, with its GObject bindings, and not one that a
# person has put before it in PATH.
if [ -x /usr/bin/python3 ]; then
    python=/usr/bin/python3
else
    python=python3
fi

meson() {
    if [ -f /usr/bin/meson ]; then
        "$python" /usr/bin/meson "$@"
    else
        command meson "$@"
    fi
}

# Names the packages of scripts/packages that serve one of the purposes.
packages_for() {
    local package purpose wanted
    while read -r package purpose; do
        case $package in '' | '#'*) continue ;; esac
        for wanted in "$@"; do
            [ "$purpose" = "$wanted" ] && echo "$package"
        done
    done <"$root/scripts/packages"
    return 0
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "This needs root for: $*" >&2
        echo "Run it as root, or install sudo." >&2
        exit 1
    fi
}

# Installs what is missing (Debian), or names it and stops.
install_packages() {
    local missing=() package
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        missing_elsewhere "$@"
        return
    fi
    for package in $(packages_for "$@"); do
        # It would take the place of what starts this machine.
        [ "$package" = openrc ] && is_installed sysv-rc && continue
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    echo "Installing: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-remove --no-install-recommends \
        "${missing[@]}" >"${TMPDIR:-/tmp}/dbus-activator-apt.$$" 2>&1 || {
        tail -n 30 "${TMPDIR:-/tmp}/dbus-activator-apt.$$" >&2
        rm -f "${TMPDIR:-/tmp}/dbus-activator-apt.$$"
        echo "apt-get could not install: ${missing[*]}" >&2
        exit 1
    }
    rm -f "${TMPDIR:-/tmp}/dbus-activator-apt.$$"
}

# Another distribution: the programs that have to be there, by the packages' Debian names.
missing_elsewhere() {
    local missing=()
    for program in cc ninja pkg-config dbus-daemon dbus-send python3; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    command -v meson >/dev/null || missing+=(meson)
    for library in dbus-1 glib-2.0 expat; do
        pkg-config --exists "$library" 2>/dev/null || missing+=("$library (development files)")
    done
    [ ${#missing[@]} = 0 ] && return
    echo "This is not Debian: please install what is missing with your package manager:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 1
}
