# What the benches share: timing a command, and judging what was measured.
# Sourced after `work` (a scratch folder, made later is fine) and `base` are
# meant to exist; `above` tells at the end whether a limit was exceeded.
# shellcheck shell=bash disable=SC2154,SC2034
above=0

fail() {
    echo "$0: $1" >&2
    exit 1
}

# For the end, however it comes: interrupted, a build may still be writing; then the
# mount goes when it ends.
leave() {
    if mountpoint -q "$work/mnt"; then
        umount "$work/mnt" 2>/dev/null || umount --lazy "$work/mnt"
    fi
    rm -rf "$work" "${memory:-}"
}

# What was read or written before must not make this run faster or slower.
settle() {
    sync
    { echo 3 >/proc/sys/vm/drop_caches; } 2>/dev/null || true
    cat "$base" >/dev/null
}

# Seconds that a command takes; what it prints is shown only if it fails.
seconds() {
    local start end
    settle
    start=$(date +%s.%N)
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        fail "failed: $*"
    }
    end=$(date +%s.%N)
    reckon "$end - $start"
}

reckon() {
    awk "BEGIN { printf \"%.3f\n\", $1 }"
}

median() {
    sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'
}

# A line of the table; the first is its head. With MARKDOWN=1 as on docs/speed.md.
row() {
    if [ -z "${MARKDOWN:-}" ]; then
        printf '%-52s %12s %12s  %s\n' "$1" "$2" "$3" "${4:-}"
        return
    fi
    printf '| %s | %s | %s | %s |\n' "${1//|/\\|}" "$2" "$3" "${4:-}"
    [ -n "$1" ] || printf '|---|--:|--:|---|\n'
}

# A row with a limit, and whether the measured value is within it.
judge() {
    local what=$1 measured=$2 limit=$3 unit=$4 verdict=ok
    if awk "BEGIN { exit !($measured > $limit) }"; then
        verdict=ABOVE
        above=1
    fi
    row "$what" "$measured$unit" "$limit$unit" "$verdict"
}
