#!/bin/sh
# SPDX-License-Identifier: MIT
# Run by `meson install` (and by a packager's own script): makes the launch helper setuid root for
# the group of the bus user. usage: install-setuid.sh PATH BUS-USER
set -u

path=$1
user=$2
target=${DESTDIR:-}$path
wanted="mode 4750, owner root, group of the user $user"

by_hand() {
    echo "$target: $1; it needs $wanted" >&2
    echo "  (chown root:GROUP '$path' && chmod 4750 '$path', or the packager's equivalent)" >&2
    exit 0
}

[ -e "$target" ] || by_hand "is not installed"
[ "$(id -u)" -eq 0 ] || by_hand "not installed as root"
# The primary group, from the account that the bus runs as: it need not have the user's name.
group=$(id -g "$user" 2>/dev/null) || by_hand "there is no user $user on this machine"
# In this order: a chown takes the setuid bit away, and before it the group would be the wrong one.
if ! { chown "0:$group" "$target" && chmod 4750 "$target"; }; then
    by_hand "owner or mode could not be set"
fi
