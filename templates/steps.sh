# Keeps count of what was done to this node, and reports each step.
# Needs $root, $state and $instance.

# Seconds since the machine started. Not the time of day: a Pi has no battery,
# and its clock jumps by months as soon as the network is there.
uptime_seconds() {
    up=0
    if [ -r /proc/uptime ]; then
        read -r up _ </proc/uptime
    fi
    echo "${up%%.*}"
}

# Forgets what an earlier set of boot files left on a used system.
open_state() {
    if [ "$(cat "$state/instance" 2>/dev/null)" != "$instance" ]; then
        rm -rf "$state"
        mkdir -p "$state"
        chmod 0755 "$state"
        printf '%s\n' "$instance" >"$state/instance"
    fi
}

# count NAME: sets $tries to how often this was called, over all boots.
count() {
    tries=$(cat "$state/$1" 2>/dev/null)
    case $tries in
        '' | *[!0-9]*) tries=0 ;;
    esac
    tries=$((tries + 1))
    printf '%s\n' "$tries" >"$state/$1"
    sync
}

# step NAME COMMAND...: runs it and notes how it went. COMMAND may set $detail;
# status 0 is done, 3 is nothing to do, anything else is a failure.
step() {
    step_name=$1
    shift
    detail=
    began=$(uptime_seconds)
    "$@" </dev/null
    case $? in
        0) outcome=ok ;;
        3) outcome=skipped ;;
        *) outcome=failed failures=$((${failures:-0} + 1)) ;;
    esac
    took=$(($(uptime_seconds) - began))
    detail=$(printf '%s' "$detail" | tr '\n\t\r' '   ' | tr -d '\000-\037\177' | cut -c 1-200)
    {
        if [ -e "$state/steps" ]; then
            grep -v "^step $step_name " "$state/steps"
        fi
        printf '%s\n' "step $step_name $outcome $took${detail:+ $detail}"
    } >"$state/steps.new"
    mv "$state/steps.new" "$state/steps"
    sync
}

# put PATH MODE: makes a file of the base64 on standard input. It appears
# complete or not at all, and never with more permissions than it shall have.
put() {
    # `mv` would put it into a folder of that name, and nobody would know.
    [ ! -d "$root$1" ] && mkdir -p "$root${1%/*}/" || return 1
    (umask 077 && base64 -d >"$root$1.cardmint") &&
        chmod "$2" "$root$1.cardmint" &&
        mv "$root$1.cardmint" "$root$1"
}

give_up() {
    detail='cut short five times'
    return 1
}

# overwrite FILE: in place. Deleting alone would leave a secret in the free
# space of the FAT.
overwrite() {
    head -c "$(wc -c <"$1")" /dev/zero 1<>"$1" && sync
}

# wipe FILE: overwrites it, then deletes it.
wipe() {
    [ -e "$1" ] || return 0
    overwrite "$1" && rm -f "$1"
}
