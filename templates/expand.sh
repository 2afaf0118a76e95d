#!/bin/sh
# Makes the root partition and its file system fill the card.
#
# Safe to repeat, and safe beside the expansion that Raspberry Pi OS does on its
# own first boot: that grows the partition before any service starts, so that
# only the file system may still be growing when this runs. Prints one line.
set -u
root=${CARDMINT_ROOT:-}

fail() {
    echo "$*"
    exit 1
}

# The image's own units: two resize2fs at a time get in each other's way.
wait_for_vendor() {
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
        systemctl is-active rpi-resize.service systemd-growfs-root.service \
            resize2fs_once.service 2>/dev/null | grep -qx activating || return 0
        sleep 2
    done
}

# Whether another partition lies behind the one that starts at sector $1.
is_followed() {
    for other in "$sys/$disk"/*/start; do
        [ ! -e "$other" ] || [ "$(cat "$other")" -le "$1" ] || return 0
    done
    return 1
}

grow_partition() {
    start=$(cat "$sys/$part/start")
    size=$(cat "$sys/$part/size")
    if is_followed "$start"; then
        note='another partition follows the root partition; '
        return 0
    fi
    end=$(cat "$sys/$disk/size")
    table=$(lsblk -dno PTTYPE "/dev/$disk" 2>/dev/null)
    if [ "$table" = gpt ]; then
        # The second copy of a GPT takes the last 33 sectors.
        end=$((end - 34))
    elif [ "$end" -gt 4294967295 ]; then
        # An MBR cannot say more: 2 TiB.
        end=4294967295
    fi
    # Less than 8 MiB is what tools leave free for alignment.
    [ $((start + size)) -lt $((end - 16384)) ] || return 0
    if [ "$table" = gpt ]; then
        sfdisk --relocate gpt-bak-std "/dev/$disk" >/dev/null 2>&1
    fi
    # sfdisk keeps the disk's id, by which fstab and cmdline.txt find the root.
    echo ",$((end - start))" |
        sfdisk -N "$number" --no-reread --force "/dev/$disk" >/dev/null 2>&1 ||
        fail "sfdisk could not grow /dev/$part"
    partx --update --nr "$number" "/dev/$disk" 2>/dev/null ||
        partprobe "/dev/$disk" 2>/dev/null ||
        fail "/dev/$part has grown; the file system can follow after a reboot"
    note="/dev/$part grown; "
}

device=$(findmnt -no SOURCE /) || fail 'no device behind the root file system'
part=${device##*/}
sys=$root/sys/class/block
number=$(cat "$sys/$part/partition" 2>/dev/null) || fail "$device is no partition"
disk=$(lsblk -no PKNAME "$device" | head -n 1)
[ -n "$disk" ] || fail "no disk behind $device"
kind=$(findmnt -no FSTYPE /)
[ "$kind" = ext4 ] || fail "cannot grow a file system of type $kind"

note=
wait_for_vendor
grow_partition
for pause in 5 10 20 0; do
    # Does nothing where the file system already fills its partition.
    if resize2fs "$device" >/dev/null 2>&1; then
        echo "${note}the file system fills $device"
        exit 0
    fi
    sleep "$pause"
done
fail "${note}resize2fs failed on $device"
