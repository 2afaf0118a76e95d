# What both ways of a first boot do to a system that is not up yet: only files,
# and `systemctl enable`, which is links. Needs $root.

# replace FILE: by FILE.cardmint, which is complete; a power cut leaves either.
replace() {
    chmod 0644 "$1.cardmint" && sync && mv "$1.cardmint" "$1"
}

# Without a line for its own name, sudo asks a name server at each call.
set_hosts() {
    hosts=$root/etc/hosts
    {
        [ ! -e "$hosts" ] || grep -v -e '^127\.0\.1\.1[[:space:]]' -e ' # cardmint$' "$hosts"
        printf '127.0.1.1\t%s\n' {% if domain %}{{ (fqdn ~ " " ~ hostname)|sh }}{% else %}{{ hostname|sh }}{% endif %}

{% for line in host_lines %}
        printf '%s # cardmint\n' {{ line|sh }}
{% endfor %}
    } >"$hosts.cardmint" && replace "$hosts"
}

# What other settings of cardmint's left on a used card: an address that may be
# another node's by now, a network that is gone.
forget_network() {
    rm -f "$root"/etc/NetworkManager/system-connections/cardmint-*.nmconnection
    wpa=$root/etc/wpa_supplicant/wpa_supplicant.conf
    if head -n 1 "$wpa" 2>/dev/null | grep -q '^# Written by cardmint'; then
        rm -f "$wpa"
    fi
    if [ -e "$root/etc/dhcpcd.conf" ]; then
        sed -i '/^# cardmint: begin$/,/^# cardmint: end$/d' "$root/etc/dhcpcd.conf"
    fi
}

# What made a used card watch or be watched; files only, finish does the rest.
forget_monitoring() {
    units=$root/etc/systemd/system
    rm -f "$units"/cardmint-metrics.* "$units/timers.target.wants/cardmint-metrics.timer" \
        "$units/node_exporter.service" "$units/multi-user.target.wants/node_exporter.service" \
        "$root/usr/local/bin/node_exporter" "$root/var/lib/prometheus/node-exporter/cardmint.prom"
}

# Images ship with the radio off twice: blocked by rfkill, and switched off in
# the state that NetworkManager restores.
unblock_wifi() {
    rfkill unblock wifi 2>/dev/null
    for switch in "$root"/var/lib/systemd/rfkill/*:wlan; do
        [ ! -e "$switch" ] || echo 0 >"$switch"
    done
    radio=$root/var/lib/NetworkManager/NetworkManager.state
    [ ! -e "$radio" ] || sed -i 's/^WirelessEnabled=false/WirelessEnabled=true/' "$radio"
}

# The wizard that asks for a first user waits for a keyboard for ever and holds
# multi-user.target back.
quiet_wizard() {
    dropin=$root/etc/systemd/system/userconfig.service.d
    mkdir -p "$dropin" || return 1
    cat >"$dropin/cardmint.conf" <<'END'
[Unit]
{% if mechanism == "cloud-init" %}
# Not as long as this file is here: cloud-init makes the user, and an account of
# that name is more than the wizard can take.
ConditionPathExists=!/etc/systemd/system/userconfig.service.d/cardmint.conf
{% else %}
# Without a prepared answer it shall not start, and no answer shall keep it
# running for more than two minutes.
ConditionPathExistsGlob={{ boot_mount|line }}/userconf*
[Service]
TimeoutStartSec=120
{% endif %}
END
    # The wizard would have switched the login prompt back on.
    systemctl enable getty@tty1.service 2>/dev/null
    true
}

# A link instead of `systemctl enable`: the unit's file may come later.
link_finish() {
    wants=$root/etc/systemd/system/multi-user.target.wants
    mkdir -p "$wants" && ln -sf ../cardmint-finish.service "$wants/cardmint-finish.service"
}
