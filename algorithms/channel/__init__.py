"""Channels between parties.

    base       Channel, the protocol that drivers see; Traffic
    framed     what all channels do with messages: numbers, checks, last words
    loopback   two ends inside one process
    zeromq     processes on a network: the face of a node towards one peer

    node       what drivers call; board, carrier: locks and threads behind it
    mailbox    what is decided, without threads: link, outflow, inflow, pulse, meeting, streams, packet
    wire       sockets; dialled: one connection after the other; curve: keys and who may come in
    store      what is kept on disk; segments, index, writer, disk: how

Protocol steps know none of them: a driver takes a `Channel` and does not care which it is.
"""

from hecore.algorithms.channel.base import Channel, Tally, Traffic
from hecore.algorithms.channel.curve import AllowList, CurveKeys
from hecore.algorithms.channel.loopback import loopback_pair
from hecore.algorithms.channel.mailbox import Watermark
from hecore.algorithms.channel.node import Node
from hecore.algorithms.channel.options import ZmqOptions
from hecore.algorithms.channel.ports import Metrics
from hecore.algorithms.channel.store import FolderStore
from hecore.algorithms.channel.zeromq import ZmqChannel, dial, listen

__all__ = [
    "AllowList",
    "Channel",
    "CurveKeys",
    "FolderStore",
    "Metrics",
    "Node",
    "Tally",
    "Traffic",
    "Watermark",
    "ZmqChannel",
    "ZmqOptions",
    "dial",
    "listen",
    "loopback_pair",
]
