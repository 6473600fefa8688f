"""The benchmark command `hecore-bench`, and the cases that pytest-benchmark runs as well.

- `cases`: what is measured, on which numbers; `checks`: how each result is checked
- `subjects`: hecore on one backend; `peers`: other libraries behind the same verbs
- `timing`: medians over repeated calls, taken in turns; `runner`: one run over keys, cases and subjects
- `machine`: what a figure was taken on; `record`: the JSON form of a run
- `channel`: the durable channel between two processes
- `tables`, `compare`, `plots`, `cli`: for people
"""
