#!/bin/sh
# `cardmint status` sends this through ssh to a node's shell, as its user. It
# changes nothing, and prints a fact a line: a word, a space, and the value.
say() {
    printf '%s %s\n' "$1" "$2"
}

say hostname "$(cat /proc/sys/kernel/hostname)"
read -r up _ </proc/uptime && say uptime "${up%%.*}"
say root "$(stat -f -c '%S %b %a' /)"
if [ -r /sys/class/thermal/thermal_zone0/temp ]; then
    say temperature "$(cat /sys/class/thermal/thermal_zone0/temp)"
fi
if [ -r /proc/device-tree/model ]; then
    say model "$(tr -d '\000' </proc/device-tree/model)"
fi
for boot in /boot/firmware /boot; do
    if [ -r "$boot/cardmint-report.txt" ]; then
        sed 's/^/report /' "$boot/cardmint-report.txt"
        break
    fi
done
say end -
