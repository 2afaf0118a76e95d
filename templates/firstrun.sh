#!/bin/sh
# cardmint: sets up {{ hostname|line }}, node {{ number }} of {{ cluster|line }}.
#
# systemd.run= on the kernel command line starts this before any service: no
# network, no D-Bus. It therefore writes files, and enables units but starts
# none. A step that fails is reported and the rest goes on; the exit status is
# always 0, since any other would switch the machine off.
#
# All code stands in functions: the shell has then read the whole file before
# the file overwrites and deletes itself.
# shellcheck disable=SC2016,SC2317  # values may hold `$`; `step` calls functions by name
set +e
umask 022

root=${CARDMINT_ROOT:-}
boot=${0%/*}
state=$root/var/lib/cardmint
instance={{ instance|sh }}
node={{ hostname|sh }}
user={{ user.name|sh }}
hash={% if user.hash %}{{ user.hash|sh }}{% else %}''{% endif %}


{% include "steps.sh" %}

{% include "prepare.sh" %}

# account FIELD: a field of the user's line in passwd.
account() {
    awk -F: -v name="$user" -v field="$1" '$1 == name { print $field; exit }' "$root/etc/passwd"
}

set_hostname() {
    printf '%s\n' "$node" >"$root/etc/hostname" && set_hosts
}

# Stock images have one account, UID 1000, which the user takes over. Each part
# is done unless it has been: power may go at any moment.
rename_user() {
    if [ ! -e "$state/old-user" ]; then
        awk -F: -v name="$user" '
            $1 == name { own = $1 }
            $3 == 1000 && !first { first = $1 }
            END { print own ? own : first }' "$root/etc/passwd" >"$state/old-user"
        sync
    fi
    old=$(cat "$state/old-user")
    if [ -z "$old" ]; then
        [ -n "$(account 1)" ] || useradd --create-home --user-group --shell /bin/bash "$user"
        return
    fi
    [ "$old" != "$user" ] || return 0
    if [ -z "$(account 1)" ] && [ -x "$root/usr/lib/userconf-pi/userconf" ]; then
        "$root/usr/lib/userconf-pi/userconf" "$user" "$hash"
    fi
    [ -n "$(account 1)" ] || usermod --login "$user" "$old"
    if [ "$(account 6)" = "/home/$old" ]; then
        usermod --home "/home/$user" "$user"
    fi
    if [ -d "$root/home/$old" ] && [ ! -e "$root/home/$user" ]; then
        mv "$root/home/$old" "$root/home/$user"
    fi
    if grep -qs "^$old:" "$root/etc/group" && ! grep -q "^$user:" "$root/etc/group"; then
        groupmod --new-name "$user" "$old"
    fi
    for map in "$root/etc/subuid" "$root/etc/subgid"; do
        [ ! -e "$map" ] || sed -i "s/^$old:/$user:/" "$map"
    done
    sed -i "s/^$old /$user /" "$root"/etc/sudoers.d/010_pi-nopasswd 2>/dev/null
}

set_user() {
    rename_user
    if [ -z "$(account 1)" ]; then
        detail="no account $user"
        return 1
    fi
    # One by one: a group that this system lacks must not cost the others.
    for group in adm dialout cdrom sudo audio video plugdev games users input render netdev gpio i2c spi; do
        usermod --append --groups "$group" "$user" 2>/dev/null
    done
    usermod --shell /bin/bash "$user"
    if [ -n "$hash" ]; then
        printf '%s\n' "$user:$hash" | chpasswd --encrypted || return 1
    else
        # `*` fits no password. A locked account, `!`, may refuse keys as well.
        usermod --password '*' "$user" || return 1
    fi
    # The wizard for a first user has nothing left to ask.
    if [ -x "$root/usr/bin/cancel-rename" ]; then
        "$root/usr/bin/cancel-rename" "$user"
    fi
    systemctl disable userconfig.service 2>/dev/null
    rm -f "$root/etc/ssh/sshd_config.d/rename_user.conf"
    wipe "$boot/userconf.txt"
}

# add_key LINE: unless it is there already.
add_key() {
    grep -qsxF -e "$1" "$home/.ssh/authorized_keys" ||
        printf '%s\n' "$1" >>"$home/.ssh/authorized_keys"
}

set_keys() {
{% if user["keys"] %}
    home=$root$(account 6)
    owner=$(account 3):$(account 4)
    mkdir -p "$home/.ssh" || return 1
{% for key in user["keys"] %}
    add_key {{ key|sh }} || return 1
{% endfor %}
    chmod 0700 "$home/.ssh" && chmod 0600 "$home/.ssh/authorized_keys" &&
        chown -R "$owner" "$home/.ssh"
{% else %}
    return 3
{% endif %}
}

set_sudo() {
{% if user.nopasswd %}
    put /etc/sudoers.d/010_cardmint 0440 <<'END'
{{ sudoers|base64_text }}
END
{% else %}
    rm -f "$root/etc/sudoers.d/010_pi-nopasswd" "$root/etc/sudoers.d/010_$user-nopasswd" \
        "$root/etc/sudoers.d/90-cloud-init-users" "$root/etc/sudoers.d/010_cardmint"
{% endif %}
}

# The host key has a name of its own: the unit that makes new host keys on a
# first boot deletes every ssh_host_*_key, and may still come.
set_sshd() {
    config=$root/etc/ssh/sshd_config
    dropin=$root/etc/ssh/sshd_config.d/10-cardmint.conf
    if ! grep -qs '^[[:space:]]*Include[[:space:]].*/sshd_config\.d/' "$config"; then
        # Buster: sshd takes the first value it reads, so ours goes on top.
        {
            cat "$dropin"
            grep -vxF -f "$dropin" "$config"
        } >"$config.cardmint"
        replace "$config" || return 1
        rm -f "$dropin"
    fi
    systemctl enable ssh
}

{% if wifi %}
set_wifi() {
    # Bullseye may have NetworkManager installed and not in use.
    if systemctl is-enabled --quiet NetworkManager 2>/dev/null; then
        put {{ wifi_nm.path|sh }} 0600 <<'END' || return 1
{{ wifi_nm.base64|base64_text }}
END
    else
        put {{ wifi_wpa.path|sh }} 0600 <<'END' || return 1
{{ wifi_wpa.base64|base64_text }}
END
    fi
    unblock_wifi
}

{% endif %}
{% if address %}
set_address() {
    if systemctl is-enabled --quiet NetworkManager 2>/dev/null; then
{% if ethernet_nm %}
        put {{ ethernet_nm.path|sh }} 0600 <<'END'
{{ ethernet_nm.base64|base64_text }}
END
{% else %}
        detail='part of the Wi-Fi profile'
{% endif %}
        return
    fi
    dhcpcd=$root/etc/dhcpcd.conf
    if [ ! -e "$dhcpcd" ]; then
        detail='neither NetworkManager nor dhcpcd is in use'
        return 1
    fi
    base64 -d >>"$dhcpcd" <<'END'
{{ dhcpcd|base64_text }}
END
}

{% endif %}
{% if timezone %}
set_timezone() {
    zone={{ timezone|sh }}
    if [ ! -e "$root/usr/share/zoneinfo/$zone" ]; then
        detail="this system has no time zone $zone"
        return 1
    fi
    printf '%s\n' "$zone" >"$root/etc/timezone" &&
        ln -sf "/usr/share/zoneinfo/$zone" "$root/etc/localtime"
}

{% endif %}
{% if keymap %}
# The console takes it over by itself: /etc/default/keyboard is then newer than
# what console-setup has cached.
set_keymap() {
    keyboard=$root/etc/default/keyboard
    {
        grep -sv '^XKB\(LAYOUT\|VARIANT\)=' "$keyboard"
        printf 'XKBLAYOUT="%s"\nXKBVARIANT=""\n' {{ keymap|sh }}
    } >"$keyboard.cardmint" && mv "$keyboard.cardmint" "$keyboard"
}

{% endif %}
{% if locale %}
set_locale() {
    locale={{ locale|sh }}
    line=$(awk -v name="$locale" '$1 == name { print; exit }' "$root/usr/share/i18n/SUPPORTED")
    if [ -z "$line" ]; then
        detail="this system has no locale $locale"
        return 1
    fi
    grep -qsxF "$line" "$root/etc/locale.gen" || printf '%s\n' "$line" >>"$root/etc/locale.gen"
    # Takes a minute on a small board, and only if it is not there yet.
    locale-gen >/dev/null || return 1
    printf 'LANG=%s\n' "$locale" >"$root/etc/default/locale"
}

{% endif %}
put_files() {
{% for file in files %}
    put {{ file.path|sh }} {{ file.mode|sh }} <<'END' || detail="$detail "{{ file.path|sh }}
{{ file.base64|base64_text }}
END
{% endfor %}
    [ -z "$detail" ]
}

# Takes exactly cardmint's tokens out of cmdline.txt; false if they stay.
strip_cmdline() {
    line=$boot/cmdline.txt
    sed -e 's|[[:space:]]systemd\.run={{ run_path|line }}||' \
        -e 's|[[:space:]]systemd\.run_success_action=reboot||' \
        -e 's|[[:space:]]systemd\.unit=kernel-command-line\.target||' \
        "$line" >"$line.cardmint" && [ -s "$line.cardmint" ] && sync &&
        mv "$line.cardmint" "$line"
    rm -f "$line.cardmint"
    sync
    ! grep -q 'systemd\.run={{ run_path|line }}' "$line"
}

set_up() {
    open_state
    count firstrun
    [ ! -e "$state/firstrun-done" ] || return
    # A run that was cut short is repeated: every step may be. But a step that
    # brings the machine down must not do so for ever.
    if [ "$tries" -gt 5 ]; then
        step firstrun give_up
        return
    fi
    rm -f "$state/done" "$boot/cardmint-report.txt"
    forget_network
    forget_monitoring
{% if stop_cloud_init %}
    # This system would take settings from cloud-init as well, at the next boot.
    [ ! -d "$root/etc/cloud" ] || : >"$root/etc/cloud/cloud-init.disabled"
{% endif %}
    step files put_files
    link_finish
    step hostname set_hostname
    step user set_user
    step keys set_keys
    step sudo set_sudo
    step sshd set_sshd
{% if wifi %}
    step wifi set_wifi
{% endif %}
{% if address %}
    step address set_address
{% endif %}
{% if timezone %}
    step timezone set_timezone
{% endif %}
{% if keymap %}
    step keymap set_keymap
{% endif %}
{% if locale %}
    step locale set_locale
{% endif %}
    step wizard quiet_wizard
    : >"$state/firstrun-done"
    sync
}

main() {
    # A boot partition that was not unmounted cleanly comes up read-only.
    mount -o remount,rw "$boot" 2>/dev/null
    set_up
    if strip_cmdline; then
        wipe "$0"
        # Again there, where the same settings were laid on the card again.
        [ -z "$(account 1)" ] || wipe "$boot/userconf.txt"
        exit 0
    fi
    # To end here would reboot into this script again, for ever. The system is
    # set up: start it and leave this unit waiting.
    systemctl --no-block start multi-user.target
    exec sleep infinity
}

main; exit 0
