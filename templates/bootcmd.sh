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
    if [ "$(cat "$state/instance" 2>/dev/null)" = "$instance" ]; then
        # The boot partition has been cleaned up: all of this has happened.
        if [ -e "$state/ok-clean" ] || [ -e "$state/done" ]; then
            return
        fi
    else
        # A system that was set up before must not take the old end for this one's.
        rm -f "$state/done"
    fi
    # cloud-init notes that a module has run before it runs. What a power cut
    # interrupted would stay as it is, half done.
    rm -f "$root"/var/lib/cloud/instance/sem/config_*
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
