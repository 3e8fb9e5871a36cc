# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034
# What build, boot, mutants, debug and cost share. Sourced, with set -eu.

kernel_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache_dir=${XDG_CACHE_HOME:-${HOME:?}/.cache}/dbus-activator-kernel
kernel_series=6.1

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# word OPTION WORD...: the option's word
word() {
	[ -n "${2:-}" ] || die "$1 needs a word after it"
	echo "$2"
}

# need PROGRAM...: said before the work and not after it
need() {
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null ||
			die "$program is not installed; README.md lists the packages"
	done
}

# Sets $scratch to a directory that vanishes with this shell.
make_scratch() {
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/dbus-activator-kernel.XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

# Prints the path of the packaged source, fetching the package if need be: by
# rename as well, so that two at once do no harm.
find_tarball() {
	local tarball=${LINUX_SOURCE:-/usr/src/linux-source-$kernel_series.tar.xz}
	local fetched=$cache_dir/source/linux-source-$kernel_series.tar.xz
	if [ -r "$tarball" ]; then
		echo "$tarball"
		return
	fi
	[ -z "${LINUX_SOURCE:-}" ] || die "LINUX_SOURCE=$LINUX_SOURCE: no such file"
	if [ ! -r "$fetched" ]; then
		make_scratch
		(cd "$scratch" && apt-get download -q "linux-source-$kernel_series" &&
			dpkg-deb -x ./*.deb tree) >&2 ||
			die "no $tarball, and the package cannot be fetched"
		mkdir -p "${fetched%/*}"
		mv "$scratch/tree/usr/src/${fetched##*/}" "$fetched.$$"
		mv "$fetched.$$" "$fetched"
	fi
	echo "$fetched"
}

hash_of() {
	sha256sum | cut -c1-16
}

# build_guest_program OUTPUT SOURCE...
build_guest_program() {
	local output=$1
	shift
	"${CC:-cc}" -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror \
		-static -o "$output" "$@" -lpthread
}

# pack ROOT CPIO: the initramfs. /dev/console comes from the kernel's own.
pack() {
	(cd "$1" && find . | LC_ALL=C sort |
		cpio -o -H newc --quiet -R 0:0) >"$2"
}

# selftest_root DIRECTORY: init and the selftest as /test
selftest_root() {
	mkdir -p "$1"
	build_guest_program "$1/init" "$kernel_dir/guest/init.c"
	build_guest_program "$1/test" "$kernel_dir"/selftest/*.c
}

# boot_guest BZIMAGE CPIO SECONDS ARGUMENT...: runs /test ARGUMENT..., returns
# qemu's exit status: 33 is a pass, everything else a failure, 0 included,
# which is what a panic or a clean power-off looks like.
# $guest_memory, $guest_cpus, $guest_append and $guest_qemu change the machine.
boot_guest() {
	local image=$1 cpio=$2 seconds=$3 status=0 words='' cpus=${guest_cpus:-2}
	shift 3
	[ $# -eq 0 ] || words=$(printf ' "%s"' "$@")
	# no_timer_check: on a busy machine emulated ticks come so late that the
	# kernel takes the timer for broken and panics. sockets: a kernel without
	# ACPI finds only the first CPU of each. GUEST_CPUS: init insists on them.
	# shellcheck disable=SC2086 # several words of options
	timeout --foreground -k 5 "$seconds" qemu-system-x86_64 -M q35 -accel tcg \
		-m "${guest_memory:-256}" -smp "$cpus,sockets=$cpus" \
		-kernel "$image" -initrd "$cpio" \
		-nographic -no-reboot -vga none -net none \
		-device isa-debug-exit,iobase=0xf4,iosize=0x04 \
		${guest_qemu:-} \
		-append "console=ttyS0 quiet panic=-1 oops=panic reboot=t no_timer_check \
GUEST_CPUS=$cpus ${guest_append:-} --$words" \
		</dev/null | sed -u 's/\r//g; s/\x1b\[[0-9;?]*[A-Za-z]//g; s/^\x1bc//' ||
		status=$?
	return "$status"
}

verdict() {
	case $1 in
	33) echo "${0##*/}: passed: $2" ;;
	0) echo "${0##*/}: FAILED: $2: the guest ended by itself (panic or oops)" ;;
	124 | 137) echo "${0##*/}: FAILED: $2: no verdict in time" ;;
	*) echo "${0##*/}: FAILED: $2: qemu says $1" ;;
	esac
	[ "$1" -eq 33 ]
}
