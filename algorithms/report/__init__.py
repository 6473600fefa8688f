"""One HTML page about a run, which opens anywhere: no network, no script, nothing outside of the file.

page       the whole page, from the records of one party or several
sections   what the page tells, part by part: result, curves, time line, work, messages, importances
charts     drawings: shapes in SVG, texts in HTML, so that they fit any width
words      names and figures for people
html       elements whose texts are escaped by construction
leaks      the tables of THREAT_MODEL.md: who can read what, and infer
"""

from hecore.algorithms.report.page import RunView, build_page, load_run

__all__ = ["RunView", "build_page", "load_run"]
