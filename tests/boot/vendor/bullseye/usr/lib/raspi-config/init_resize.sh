#!/bin/bash
# Stand-in: PID 1 of the first boot. Grows the partition, changes the disk id,
# and reboots; the file system follows at the next boot.
fail() {
    echo "first boot: $1; press a key" >/dev/console
    sleep infinity
}

new_disk_id() {
    local id old
    id=$(tr -dc 'a-f0-9' </dev/hwrng | head -c 8)
    old=$(findmnt -no PARTUUID /)
    old=${old%-*}
    printf 'x\ni\n0x%s\nr\nw\n' "$id" | fdisk "$disk" >/dev/null || fail 'no new disk id'
    sed -i "s/$old/$id/g" /etc/fstab /boot/cmdline.txt
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /run
mount /boot || fail 'no boot partition'
sed -i 's| init=/usr/lib/raspi-config/init_resize\.sh||; s| sdhci\.debug_quirks2=4||; s| quiet||' \
    /boot/cmdline.txt
mount -o remount,rw / || fail 'the root file system is read-only'
part=$(findmnt -no SOURCE /)
disk=/dev/$(lsblk -no PKNAME "$part")
number=$(cat "/sys/class/block/${part##*/}/partition")
end=$(($(cat "/sys/class/block/${disk##*/}/size") - 1))
printf 'Yes\n' | parted -m ---pretend-input-tty "$disk" unit s resizepart "$number" "$end" ||
    fail 'the root partition could not be resized'
new_disk_id
sync
umount /boot
mount -o remount,ro /
echo 'first boot: reboots' >/dev/console
reboot -f
sleep infinity
