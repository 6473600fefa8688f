"""Joint serving: each side serves its part, and together they answer. See docs/serving.md.

messages   records between the parties; line: how they travel
trees, parts, masks    what is computed
features   where a party's features come from
limits, audit          what bounds and records the questions
passive    the side that answers over the line alone
peers, scoring, batching, active    the side that puts scores together
web, openapi           its face to callers
settings, process      files and processes
"""

from hecore.algorithms.serving.features import Features, SnapshotFeatures, SqliteFeatures
from hecore.algorithms.serving.process import serve
from hecore.algorithms.serving.settings import Settings, load_settings

__all__ = ["Features", "Settings", "SnapshotFeatures", "SqliteFeatures", "load_settings", "serve"]
