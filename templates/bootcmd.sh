# cardmint: before sysinit.target, once for this set of boot files.
# Nothing may be started here: systemd waits for this very script.
root=${CARDMINT_ROOT:-}
instance={{ instance|sh }}

{% include "prepare.sh" %}

# A system that was set up before must not take the old end for this one's.
if [ "$(cat "$root/var/lib/cardmint/instance" 2>/dev/null)" != "$instance" ]; then
    rm -f "$root/var/lib/cardmint/done"
fi
set_hosts
systemctl enable ssh
{% if wifi %}
unblock_wifi
{% endif %}
quiet_wizard
# From the next boot on, should this one be cut short before runcmd.
link_finish
sync
true
