# cardmint: before sysinit.target, at each boot until this node is set up.
# Nothing may be started here: systemd waits for this very script.
root=${CARDMINT_ROOT:-}
state=$root/var/lib/cardmint
instance={{ instance|sh }}
node={{ hostname|sh }}

{% include "prepare.sh" %}

# cloud-init would leave the name as it is on a system that was set up before.
set_hostname() {
    printf '%s\n' "$node" >"$root/etc/hostname"
    running=$root/proc/sys/kernel/hostname
    [ ! -w "$running" ] || printf '%s\n' "$node" >"$running"
    set_hosts
}

set_up() {
    # What cleaning up leaves in place of the settings: all of this has happened,
    # and what the owner changed since stays.
    ! cmp -s "$root/usr/local/lib/cardmint/user-data" "$root"{{ boot_mount|sh }}/user-data || return
    if [ "$(cat "$state/instance" 2>/dev/null)" != "$instance" ]; then
        # A system that was set up before must not take the old end for this one's.
        rm -f "$state/done" "$root"{{ boot_mount|sh }}/cardmint-report.txt
        forget_network
        forget_monitoring
    elif [ -e "$state/ok-clean" ] || [ -e "$state/done" ]; then
        # The same settings again, which only have to go again.
        rm -f "$state/ok-clean" "$state/done"
        link_finish
        return
    fi
    # cloud-init notes that a module has run before it runs. What a power cut
    # interrupted would stay as it is, half done; and locked.
    rm -f "$root"/var/lib/cloud/instance/sem/config_*
    for name in passwd shadow group gshadow subuid subgid; do
        rm -f "$root/etc/$name.lock"
    done
    set_hostname
    systemctl enable ssh
{% if wifi %}
    unblock_wifi
{% endif %}
    quiet_wizard
    rm -f "$root/etc/ssh/sshd_config.d/rename_user.conf"
    # From the next boot on, should this one be cut short before runcmd.
    link_finish
    sync
}

set_up
true
