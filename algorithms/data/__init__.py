"""A party's rows: files read in chunks, tables of numbers and categories, ids, splits that parties agree on."""

from hecore.algorithms.data.ids import Ids
from hecore.algorithms.data.read import read_csv, read_ids, read_table
from hecore.algorithms.data.schema import Column, Schema, infer_schema
from hecore.algorithms.data.table import Table

__all__ = ["Column", "Ids", "Schema", "Table", "infer_schema", "read_csv", "read_ids", "read_table"]
