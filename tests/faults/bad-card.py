"""An nbdkit plugin: a card that is as bad as `faults` says.

    nbdkit python tests/faults/bad-card.py file=CARD faults=FAULTS.json

CARD holds the bytes; FAULTS.json is read again whenever it changes:
write_error, read_error   writes or reads that reach this byte fail
flip                      [BYTE, TIMES]: so many writes that reach it flip a bit
holds, wraps              the true size, and whether the rest wraps around
stall                     [BYTE, SECONDS]: a write that reaches it waits, once, at most
                          until FAULTS.json.go is there; FAULTS.json.stalled is there
                          as soon as it waits
delay                     seconds that each write takes
die_at_write, die_at_read the reader drops off the bus when this byte is reached
                          (the latter once the partition table is back)
"""

import errno
import json
import os
import time

import nbdkit

API_VERSION = 2

path = None
faults_path = None
card = None
faults = {}
seen = None
is_headless = False
is_complete = False


def config(key, value):
    global path, faults_path
    if key == "file":
        path = value
    else:
        faults_path = value


def thread_model():
    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def get_ready():
    global card
    card = os.open(path, os.O_RDWR)


def open(readonly):
    return 1


def get_size(handle):
    return os.fstat(card).st_size


def reload():
    global faults, seen
    stamp = os.stat(faults_path).st_mtime_ns
    if stamp != seen:
        with os.fdopen(os.open(faults_path, os.O_RDONLY)) as file:
            faults = json.load(file)
        seen = stamp


def fail(what):
    nbdkit.set_error(errno.EIO)
    raise RuntimeError(what)


def reaches(key, offset, count):
    value = faults.get(key)
    at = value[0] if isinstance(value, list) else value
    return at is not None and offset <= at < offset + count


def place(offset):
    holds = faults.get("holds")
    if holds is None or offset < holds:
        return offset
    return offset % holds if faults.get("wraps") else None


def pread(handle, buf, offset, flags):
    reload()
    if reaches("read_error", offset, len(buf)):
        fail("a read error")
    if is_complete and reaches("die_at_read", offset, len(buf)):
        os._exit(1)
    at = place(offset)
    buf[:] = bytes(len(buf)) if at is None else os.pread(card, len(buf), at)


def pwrite(handle, buf, offset, flags):
    global is_headless, is_complete
    reload()
    if reaches("write_error", offset, len(buf)):
        fail("a write error")
    if reaches("die_at_write", offset, len(buf)):
        os._exit(1)
    if reaches("stall", offset, len(buf)):
        with os.fdopen(os.open(faults_path + ".stalled", os.O_WRONLY | os.O_CREAT), "w"):
            pass
        end = time.monotonic() + faults.pop("stall")[1]
        while time.monotonic() < end and not os.path.exists(faults_path + ".go"):
            time.sleep(0.01)
    time.sleep(faults.get("delay", 0))
    data = bytearray(buf)
    if offset == 0:
        is_complete = is_headless and any(data[:512])
        is_headless = not any(data[:512])
    if reaches("flip", offset, len(buf)) and faults["flip"][1] > 0:
        faults["flip"][1] -= 1
        data[faults["flip"][0] - offset] ^= 0x10
    at = place(offset)
    if at is not None:
        os.pwrite(card, data, at)


def flush(handle, flags):
    os.fsync(card)
