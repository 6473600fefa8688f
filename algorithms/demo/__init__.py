"""`hecore demo`: a real joint training between two processes on this machine.

scikit-learn's breast cancer data is split by columns. The active process holds ten of them and the diagnosis,
the passive one the other twenty. Each makes its own keys; they train over ZeroMQ on the loopback interface,
encrypted and authenticated, and the active one scores the held-out rows. The parent process only starts them,
passes public keys on (as two companies would by mail) and shows what they report.
"""

from hecore.algorithms.demo.results import DemoResult, PartyResult
from hecore.algorithms.demo.run import run_demo
from hecore.algorithms.demo.settings import DemoData, DemoSettings, load_data

__all__ = ["DemoData", "DemoResult", "DemoSettings", "PartyResult", "load_data", "run_demo"]
