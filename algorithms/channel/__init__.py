"""Channels between two parties.

    base       Channel, the protocol that drivers see; Traffic
    framed     what all channels do with messages: numbers, checks, control records
    loopback   two ends inside one process
    zeromq     two processes, encrypted; curve: their keys; presence: is the peer there

Protocol steps know none of them: a driver takes a `Channel` and does not care which it is.
"""

from hecore.algorithms.channel.base import Channel, Tally, Traffic
from hecore.algorithms.channel.curve import AllowList, CurveKeys
from hecore.algorithms.channel.loopback import loopback_pair
from hecore.algorithms.channel.zeromq import ZmqChannel, ZmqOptions, dial, listen

__all__ = [
    "AllowList",
    "Channel",
    "CurveKeys",
    "Tally",
    "Traffic",
    "ZmqChannel",
    "ZmqOptions",
    "dial",
    "listen",
    "loopback_pair",
]
