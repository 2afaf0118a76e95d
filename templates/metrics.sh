#!/bin/sh
# cardmint: what this node knows of itself and node_exporter does not, as a file
# that node_exporter reads. cardmint-metrics.timer runs it.
set -u
umask 022

root=${CARDMINT_ROOT:-}
boot=$root{{ boot_mount|sh }}
node={{ hostname|sh }}
instance={{ instance|sh }}
dir=$root/var/lib/prometheus/node-exporter
file=$dir/cardmint.prom

# label TEXT: as it stands between the quotes of a label.
label() {
    printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g'
}

# head_of NAME HELP
head_of() {
    printf '# HELP %s %s\n# TYPE %s gauge\n' "$1" "$2" "$1"
}

node_info() {
    model=
    if [ -r "$root/proc/device-tree/model" ]; then
        model=$(tr -d '\000\n' <"$root/proc/device-tree/model")
    fi
    head_of cardmint_node_info 'The node that cardmint made of this machine.'
    printf 'cardmint_node_info{node="%s",number="%s",model="%s"} 1\n' \
        "$(label "$node")" {{ number }} "$(label "$model")"
}

# Sets $bits to what the firmware says of power and heat. Its own tool comes
# first: the kernel's file puts a warning with a stack trace into the log, and
# the kernel's undervoltage driver resets "since boot" there every two seconds.
read_throttled() {
    bits=
    if command -v vcgencmd >/dev/null 2>&1; then
        bits=$(vcgencmd get_throttled 2>/dev/null)
        case $bits in
            throttled=0x*) bits=${bits#throttled=0x} ;;
            *) bits= ;;
        esac
    fi
    if [ -z "$bits" ]; then
        for known in "$root"/sys/devices/platform/soc*/soc*firmware/get_throttled; do
            [ ! -r "$known" ] || bits=$(cat "$known")
        done
    fi
    case $bits in
        '' | *[!0-9A-Fa-f]*) return 1 ;;
    esac
    bits=$((0x$bits))
}

# flags NAME BIT HELP: four flags, the first of which is this bit.
flags() {
    head_of "$1" "$3"
    bit=$2
    for flag in under_voltage frequency_capped throttled soft_temperature_limit; do
        printf '%s{flag="%s"} %d\n' "$1" "$flag" $((bits >> bit & 1))
        bit=$((bit + 1))
    done
}

throttled() {
    read_throttled || return 0
    flags cardmint_throttled 0 'What the firmware holds against power or heat right now.'
    flags cardmint_throttled_since_boot 16 'What the firmware had to do about power or heat since it started.'
}

first_boot() {
    # An earlier one's says nothing of this one.
    grep -qsx "instance $instance" "$boot/cardmint-report.txt" || return 0
    case $(tail -n 1 "$boot/cardmint-report.txt" 2>/dev/null | tr -d '\r') in
        'result ok') ok=1 ;;
        'result failed') ok=0 ;;
        *) return 0 ;;
    esac
    head_of cardmint_first_boot_ok 'Whether everything the first boot had to do went well.'
    printf 'cardmint_first_boot_ok %d\n' "$ok"
}

text=$(
    node_info
    throttled
    first_boot
)
# Flash wears: what has not changed is not written again.
if [ "$text" != "$(cat "$file" 2>/dev/null)" ]; then
    mkdir -p "$dir" && printf '%s\n' "$text" >"$file.new" && mv "$file.new" "$file"
fi
