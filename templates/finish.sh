#!/bin/sh
# cardmint: finishes the first boot of {{ hostname|line }}, node {{ number }} of {{ cluster|line }}.
#
# cardmint-finish.service runs this at each boot until all is done, five times
# at most. A step that went well is not repeated. The outcome stands in
# cardmint-report.txt on the boot partition.
# shellcheck disable=SC2016,SC2317  # values may hold `$`; `step` calls functions by name
set +e
umask 022

root=${CARDMINT_ROOT:-}
boot=$root{{ boot_mount|sh }}
state=$root/var/lib/cardmint
lib=$root/usr/local/lib/cardmint
instance={{ instance|sh }}
node={{ hostname|sh }}
user={{ user.name|sh }}
log=$root/var/log/cardmint.log
wizard=$root/etc/systemd/system/userconfig.service.d

{% include "steps.sh" %}

# once NAME COMMAND...: a step that is not repeated once it went well.
once() {
    [ ! -e "$state/ok-$1" ] || return 0
    step "$@"
    if [ "$outcome" != failed ]; then
        : >"$state/ok-$1"
        sync
    fi
}

has_account() {
    grep -q "^$user:" "$root/etc/passwd" && return
    detail="no account $user"
    return 1
}

{% if mechanism == "cloud-init" %}
check_hostname() {
    found=$(cat "$root/etc/hostname")
    detail=${found:-none}
    [ "$found" = "$node" ]
}

check_user() {
    detail=$user
    has_account
}

{% if timezone %}
check_timezone() {
    zone={{ timezone|sh }}
    cmp -s "$root/etc/localtime" "$root/usr/share/zoneinfo/$zone" && return
    detail="the time zone is not $zone"
    [ -e "$root/usr/share/zoneinfo/$zone" ] || detail="this system has no time zone $zone"
    return 1
}

{% endif %}
{% if keymap %}
check_keymap() {
    keymap={{ keymap|sh }}
    grep -qsxF -e "XKBLAYOUT=\"$keymap\"" -e "XKBLAYOUT=$keymap" "$root/etc/default/keyboard" && return
    detail="the keyboard is not $keymap"
    return 1
}

{% endif %}
{% if locale %}
# cloud-init knows some by less than their name.
check_locale() {
    locale={{ locale|sh }}
    sed -n 's/^LANG="*\([^"]*\)"*$/\1/p' "$root/etc/default/locale" "$root/etc/locale.conf" 2>/dev/null |
        grep -qxF -e "$locale" -e "$locale.UTF-8" && return
    detail="the locale is not $locale"
    return 1
}

{% endif %}
{% if own_files %}
# cloud-init writes them, and tells nobody which it could not.
check_files() {
{% for path in own_files %}
    [ -f "$root"{{ path|sh }} ] || detail="$detail "{{ path|sh }}
{% endfor %}
    [ -z "$detail" ]
}

{% endif %}
{% endif %}
# Host key and sshd settings, should the image's own first boot have removed them.
keep_sshd() {
    restored=
    for name in cardmint_host_ed25519_key cardmint_host_ed25519_key.pub; do
        if ! cmp -s "$lib/ssh/$name" "$root/etc/ssh/$name"; then
            cp -p "$lib/ssh/$name" "$root/etc/ssh/$name" || return 1
            restored="$restored $name"
        fi
    done
    if grep -qs '^[[:space:]]*Include[[:space:]].*/sshd_config\.d/' "$root/etc/ssh/sshd_config" &&
        ! cmp -s "$lib/ssh/10-cardmint.conf" "$root/etc/ssh/sshd_config.d/10-cardmint.conf"; then
        mkdir -p "$root/etc/ssh/sshd_config.d" &&
            cp -p "$lib/ssh/10-cardmint.conf" "$root/etc/ssh/sshd_config.d/10-cardmint.conf" || return 1
        restored="$restored 10-cardmint.conf"
    fi
    if [ -n "$restored" ]; then
        detail="restored$restored"
        systemctl try-restart ssh
    fi
}

{% if not user.nopasswd %}
# What images and cloud-init may have left, against `sudo = "password"`.
ask_sudo() {
    rm -f "$root/etc/sudoers.d/010_pi-nopasswd" "$root/etc/sudoers.d/010_$user-nopasswd" \
        "$root/etc/sudoers.d/90-cloud-init-users" "$root/etc/sudoers.d/010_cardmint"
}

{% endif %}
{% if owned %}
# Files that belong to a user, or lie in a home: only now is the user there.
place_files() {
    # A home made too early keeps the account from being moved into it.
    has_account || return 1
{% for file in owned %}
    [ ! -d "$root"{{ file.path|sh }} ] && mkdir -p "$root"{{ file.folder|sh }} &&
        cp "$lib/files/{{ loop.index }}" "$root"{{ file.path|sh }} &&
        chmod {{ file.mode|sh }} "$root"{{ file.path|sh }} &&
        chown {{ file.owner|sh }} "$root"{{ file.path|sh }} ||
        detail="$detail "{{ file.path|sh }}
{% for folder in file.own_folders %}
    chown {{ file.owner|sh }} "$root"{{ folder|sh }}
{% endfor %}
{% endfor %}
    [ -z "$detail" ]
}

{% endif %}
{% if expand %}
expand() {
    detail=$("$root/usr/local/sbin/cardmint-expand")
}

{% endif %}
{% if packages %}
wait_for_network() {
    waits=0
    while [ "$waits" -lt 180 ]; do
        if ip route show default 2>/dev/null | grep -q . ||
            ip -6 route show default 2>/dev/null | grep -q .; then
            return 0
        fi
        sleep 10
        waits=$((waits + 1))
    done
    detail='no default route after half an hour'
    return 1
}

# apt_get WORDS...: asks nothing, and keeps configuration files that are there.
apt_get() {
    # The clock may still be as old as the image, which would make every
    # package list one from the future. And the release that was `stable` when
    # the image was made may be `oldstable` now.
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get --quiet --yes \
        -o Acquire::Check-Date=false -o Acquire::AllowReleaseInfoChange=true \
        -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        "$@" >>"$log" 2>&1
}

install_packages() {
    wait_for_network || return 1
    for pause in 10 20 40 80 0; do
        # Completes what a power cut interrupted.
        DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --configure -a >>"$log" 2>&1
        # One list that cannot be had does not mean that the packages cannot.
        apt_get update
        if apt_get install --{% for package in packages %} {{ package|sh }}{% endfor %}; then
            return 0
        fi
        sleep "$pause"
    done
    detail='apt-get failed five times, see /var/log/cardmint.log'
    return 1
}

{% endif %}
{% if exporter == "deb" %}
# Without a network: the card carries it.
place_exporter() {
    package=$boot/cardmint-exporter.deb
    name=$(dpkg-deb --field "$package" Package 2>>"$log")
    if [ -z "$name" ]; then
        detail='the package on the boot partition cannot be read'
        return 1
    fi
    # Something else may be installing at the first boot, too.
    for pause in 10 20 40 0; do
        if DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold \
            --install "$package" >>"$log" 2>&1; then
            return 0
        fi
        sleep "$pause"
    done
    # Half installed it would keep apt from installing anything.
    dpkg --remove "$name" >>"$log" 2>&1
    detail="dpkg could not install $name, see /var/log/cardmint.log"
    return 1
}

{% elif exporter == "program" %}
# Without a network: the card carries it.
place_exporter() {
    program=$root/usr/local/bin/node_exporter
    mkdir -p "${program%/*}"
    if ! gzip -dc "$boot/cardmint-exporter.gz" >"$program.cardmint" 2>>"$log"; then
        detail='the program on the boot partition cannot be unpacked'
        return 1
    fi
    chmod 0755 "$program.cardmint" && mv "$program.cardmint" "$program" || return 1
    # One for another processor would be started again for ever.
    if ! "$program" --version >>"$log" 2>&1; then
        detail='this processor cannot run the node exporter'
        return 1
    fi
    systemctl disable --now prometheus-node-exporter.service 2>/dev/null
    systemctl daemon-reload
    systemctl enable node_exporter.service 2>/dev/null
    systemctl restart node_exporter.service
}

{% elif exporter %}
place_exporter() {
    if ! systemctl enable --now prometheus-node-exporter.service 2>>"$log"; then
        detail='prometheus-node-exporter is not installed'
        return 1
    fi
}

{% endif %}
{% if exporter %}
# Whether something listens at port 9100 (238C): a program for another processor is
# installed all the same, and dies.
is_exporting() {
    for pause in 1 2 4 8 16 0; do
        if grep -qs ':238C [0-9A-F]*:0000 0A ' "$root/proc/net/tcp" "$root/proc/net/tcp6"; then
            return 0
        fi
        sleep "$pause"
    done
    detail='the node exporter does not answer, see journalctl'
    return 1
}

install_exporter() {
    place_exporter && is_exporting
}

# What the kernel and the firmware know and the node exporter does not tell.
start_metrics() {
    systemctl daemon-reload
    systemctl enable --now cardmint-metrics.timer
}

{% endif %}
{% if docker %}
compose() {
    (
        cd "$root/etc/cardmint/monitoring" || exit 1
        if docker compose version >/dev/null 2>&1; then
            docker compose --project-name cardmint "$@"
        else
            docker-compose --project-name cardmint "$@"
        fi
    ) >>"$log" 2>&1
}

# At later boots Docker starts the containers by itself.
start_monitoring() {
    if ! command -v docker >/dev/null; then
        detail='Docker is not installed'
        return 1
    fi
    wait_for_network || return 1
    systemctl enable --now docker.service
    for pause in 10 20 40 80 0; do
        if compose pull && compose up -d; then
            return 0
        fi
        sleep "$pause"
    done
    detail='Prometheus and Grafana did not start, see /var/log/cardmint.log'
    return 1
}

{% elif watches %}
start_monitoring() {
    systemctl enable --now prometheus.service
}

{% endif %}
{% if run %}
# The output goes to the log and not into the report, which anyone can read.
run_command() {
    # A command that restarts the machine ends, and that it went well is noted.
    trap : TERM
    sh -c "$1" >>"$log" 2>&1
    status=$?
    [ "$status" -eq 0 ] || detail="exit status $status, see /var/log/cardmint.log"
    return "$status"
}

# Leaves what comes next to the next boot, where the machine is going down. Where all went
# well, this boot was not cut short.
await_restart() {
    if [ "$(systemctl is-system-running 2>/dev/null)" = stopping ]; then
        [ "$outcome" = failed ] || rm -f "$state/finish"
        exit 0
    fi
    trap - TERM
}

{% endif %}
# The wizard for a first user has nothing left to ask.
end_wizard() {
    if [ -x "$root/usr/bin/cancel-rename" ]; then
        "$root/usr/bin/cancel-rename" "$user" >>"$log" 2>&1
    fi
    systemctl disable userconfig.service 2>/dev/null
    rm -f "$wizard/cardmint.conf" "$root/etc/ssh/sshd_config.d/rename_user.conf"
    rmdir "$wizard" 2>/dev/null
}

# Leaves no secret on the boot partition, which has no permissions, and nothing
# that would set this node up a second time.
clean_boot() {
    mount -o remount,rw "$boot" 2>/dev/null
{% if mechanism == "cloud-init" %}
    # As long as the settings are there, cloud-init tries again.
    has_account || [ "$tries" -ge 5 ] || return 1
    if [ -e "$boot/user-data" ] && ! cmp -s "$lib/user-data" "$boot/user-data"; then
        # cloud-init ignores the seed if one file is missing, so that the
        # substitute is complete before the old one goes. meta-data stays: the
        # same instance-id means that nothing is done again.
        cp "$lib/user-data" "$boot/user-data.new" && sync || return 1
        overwrite "$boot/user-data" && mv "$boot/user-data.new" "$boot/user-data" || return 1
    fi
    # From now on a hostname set by hand stays.
    mkdir -p "$root/etc/cloud/cloud.cfg.d"
    printf '%s\n' '# Written by cardmint.' 'preserve_hostname: true' 'manage_etc_hosts: false' \
        >"$root/etc/cloud/cloud.cfg.d/99-cardmint.cfg" || return 1
{% endif %}
    wipe "$boot/firstrun.sh" || return 1
    # Another account than ours: the file is still somebody's only way in.
    if has_account; then
        wipe "$boot/userconf.txt" && wipe "$boot/failed_userconf.txt" || return 1
        end_wizard
    elif [ -e "$boot/userconf.txt" ]; then
        # The wizard may try it at the next boot.
        rm -f "$wizard/cardmint.conf"
    fi
}

# write_report [ok|failed]: without a result, the report is not complete yet.
write_report() {
    {
        echo 'cardmint report 1'
        printf 'node %s\ninstance %s\n' "$node" "$instance"
        cat "$state/steps"
        [ -z "$1" ] || echo "result $1"
    } >"$state/report"
    cmp -s "$state/report" "$boot/cardmint-report.txt" && return
    cp "$state/report" "$boot/cardmint-report.txt.new" && sync &&
        mv "$boot/cardmint-report.txt.new" "$boot/cardmint-report.txt"
    sync
}

all_steps() {
{% if not docker %}
    # Containers of former settings would start again at each boot.
    if [ -e "$root/etc/cardmint/monitoring/compose.yml" ]; then
        docker rm --force cardmint-prometheus cardmint-grafana >>"$log" 2>&1
        rm -rf "$root/etc/cardmint/monitoring"
    fi
{% endif %}
{% if mechanism == "cloud-init" %}
    once hostname check_hostname
    once user check_user
{% if timezone %}
    once timezone check_timezone
{% endif %}
{% if keymap %}
    once keymap check_keymap
{% endif %}
{% if locale %}
    once locale check_locale
{% endif %}
{% if own_files %}
    once files check_files
{% endif %}
{% endif %}
    once ssh keep_sshd
{% if not user.nopasswd %}
    once ask-sudo ask_sudo
{% endif %}
{% if owned and packages %}
    # Does not count yet: an owner may come with a package.
    counted=$failures
    once owned-files place_files
    failures=$counted
{% elif owned %}
    once owned-files place_files
{% endif %}
{% if expand %}
    once expand expand
{% endif %}
    # Before anything that may take long: the secrets are no longer needed.
    once clean clean_boot
{% if exporter == "deb" or exporter == "program" %}
    once exporter install_exporter
    # Only now: what goes before that is noted would be missed after a power cut.
    [ ! -e "$state/ok-exporter" ] || rm -f "$boot/cardmint-exporter.deb" "$boot/cardmint-exporter.gz"
{% endif %}
{% if exporter %}
    once metrics start_metrics
{% endif %}
{% if packages or run %}
    write_report ''
{% endif %}
{% if packages %}
    once packages install_packages
{% if owned %}
    once owned-files place_files
{% endif %}
{% endif %}
{% if exporter == "package" %}
    once exporter install_exporter
{% endif %}
{% if watches %}
    once monitoring start_monitoring
{% endif %}
{% for command in run %}
    once run-{{ loop.index }} run_command {{ command|sh }}
    await_restart
{% endfor %}
}

main() {
    open_state
    [ ! -e "$state/done" ] || exit 0
    count finish
    failures=0
    (umask 077 && : >>"$log")
    if [ "$tries" -le 5 ]; then
        all_steps
    else
        # Something here brings the machine down.
        step finish give_up
        once clean clean_boot
    fi
    result=ok
    ! grep -q '^step [^ ]* failed ' "$state/steps" || result=failed
    write_report "$result"
    if [ "$failures" -gt 0 ] && [ "$tries" -lt 5 ]; then
        exit 1
    fi
    : >"$state/done"
    rm -f "$root/etc/systemd/system/multi-user.target.wants/cardmint-finish.service"
    sync
    [ "$result" = ok ] || exit 1
    exit 0
}

main; exit 0
