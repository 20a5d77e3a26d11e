"""What is done to a driver's socket behind the driver's back."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

IDLE, INTERVAL, COUNT = 30, 5, 3
"""Seconds until a silent peer is asked whether it is there, seconds between two such questions, and how many."""

UNACKNOWLEDGED = 30_000
"""Milliseconds that what was sent may stay without a receipt."""


def hang_up(descriptor: int) -> None:
    """Whoever waits for an answer here sees the end of the stream, as from a server that hung up.

    Args:
        descriptor: of the socket; it stays open, and its driver finds out by itself.
    """
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as same:
        same.shutdown(socket.SHUT_RDWR)


def notice_dead_peers(connected: socket.socket) -> None:
    """A host that is gone without a farewell is noticed within a minute, and not after two hours.

    Args:
        connected: a socket; one that is no TCP has a peer on this machine, and is left alone.
    """
    if connected.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": IDLE,
        "TCP_KEEPINTVL": INTERVAL,
        "TCP_KEEPCNT": COUNT,
        "TCP_USER_TIMEOUT": UNACKNOWLEDGED,
    }
    for name, value in options.items():
        if (option := getattr(socket, name, None)) is not None:  # not every system has each
            connected.setsockopt(socket.IPPROTO_TCP, option, value)
