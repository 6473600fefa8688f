"""A port of this machine for a party that is told where it will listen before it does."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A TCP port of 127.0.0.1 that the kernel gives to nobody else while this process lives.

    A socket stays bound to it and never listens. So neither a bind to port 0 nor an outgoing connection is
    given this port, also between two lives of the listener; and who names it may listen there, because
    ZeroMQ, asyncio and this socket set SO_REUSEADDR (socket(7)). One file descriptor each, for good.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    holder.detach()
    return port
