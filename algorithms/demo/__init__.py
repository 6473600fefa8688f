"""`hecore demo`: a joint job between companies that are all on this machine.

scikit-learn's breast cancer data is split by columns into the tables of a hospital, which has the diagnosis,
and of a laboratory. Each gets a folder with its table, its keys and its job file, as people make them with
`hecore party keygen`, `hecore party trust` and `hecore job init`; then `hecore party run` runs in each. What
the demo adds is what parties who show no data cannot have: the figures of all columns in one place.

example    the tables, the folders, the job files
running    the parties' processes: started, killed on demand, started again
compare    the joint scores, and those of trainings in the clear
tables     both for people
"""

from hecore.algorithms.demo.compare import Comparison, compare
from hecore.algorithms.demo.example import DemoSettings, write_demo
from hecore.algorithms.demo.running import run_parties

__all__ = ["Comparison", "DemoSettings", "compare", "run_parties", "write_demo"]
