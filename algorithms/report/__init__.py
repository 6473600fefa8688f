"""One HTML page about a run, which opens anywhere: no network, no script, nothing outside of the file.

page       the whole page, from the records of one party or several
sections   what came of the run: head, results, curves, importances, configuration
work       what it took: time lines, phases, operations, messages
reading    who can read what, and what went which way in this run
charts     drawings: shapes in SVG, texts in HTML, so that they fit any width
words      names and figures for people
html       elements whose texts are escaped by construction
leaks      the tables of THREAT_MODEL.md: who can read what, and infer
"""

from hecore.algorithms.report.page import build_page, load_run
from hecore.algorithms.report.view import RunView

__all__ = ["RunView", "build_page", "load_run"]
