"""Stands in for udisks2 on a bus of its own: opens the devices that it is asked for.

    udisks.py BUS-ADDRESS LOG

Runs as root; writes each call to LOG.
"""

import os
import sys

from jeepney import HeaderFields, MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

bus, log = sys.argv[1], open(sys.argv[2], "w")
connection = open_dbus_connection(bus=bus, enable_fds=True)
connection.send_and_get_reply(message_bus.RequestName("org.freedesktop.UDisks2"))
print("ready", flush=True)
while True:
    call = connection.receive()
    if call.header.message_type != MessageType.method_call:
        continue
    member = call.header.fields[HeaderFields.member]
    path = call.header.fields[HeaderFields.path]
    print(member, path, call.body, file=log, flush=True)
    name = path.rsplit("/", 1)[-1]
    if member == "ResolveDevice":
        found = call.body[0]["path"][1].replace("/dev/", "/org/freedesktop/UDisks2/block_devices/")
        connection.send(new_method_return(call, "ao", ([found],)))
    elif member == "OpenDevice":
        mode, options = call.body
        try:
            assert mode == "rw", mode
            fd = os.open(f"/dev/{name}", os.O_RDWR | options["flags"][1])
        except OSError as error:
            text = f"Error opening /dev/{name}: {os.strerror(error.errno)}"
            connection.send(new_error(call, "org.freedesktop.UDisks2.Error.Failed", "s", (text,)))
            continue
        connection.send(new_method_return(call, "h", (fd,)))
        os.close(fd)
    else:
        connection.send(new_error(call, "org.freedesktop.DBus.Error.UnknownMethod", "s", (member,)))
