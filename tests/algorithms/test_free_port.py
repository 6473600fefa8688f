from __future__ import annotations

import socket

import pytest

from hecore.algorithms.free_port import free_port


def test_a_free_port_is_for_who_names_it_alone() -> None:
    """It may be listened at time and again; a bind that does not share, as one to port 0, does not get it."""
    port = free_port()
    assert free_port() != port
    for _ in range(2):
        address = ("127.0.0.1", port)
        # With SO_REUSEADDR, as ZeroMQ has it.
        with socket.create_server(address) as server, socket.create_connection(address):
            server.accept()[0].close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(address)
