"""A party's rows: files in chunks, tables of numbers and categories, ids, splits that parties agree on."""

from hecore.algorithms.data.ids import Ids
from hecore.algorithms.data.libsvm import read_libsvm
from hecore.algorithms.data.read import load_rows, read_csv, read_ids, read_table
from hecore.algorithms.data.schema import Column, Schema, infer_schema
from hecore.algorithms.data.sources import open_source
from hecore.algorithms.data.split import Split, split_rows
from hecore.algorithms.data.table import Table
from hecore.algorithms.data.write import write_rows

__all__ = [
    "Column",
    "Ids",
    "Schema",
    "Split",
    "Table",
    "infer_schema",
    "load_rows",
    "open_source",
    "read_csv",
    "read_ids",
    "read_libsvm",
    "read_table",
    "split_rows",
    "write_rows",
]
