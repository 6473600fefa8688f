# Every target works from a bare checkout: it makes .venv itself, and installs again only when
# pyproject.toml has changed. Choose the interpreter with PYTHON=..., the folder with VENV=...

VENV ?= .venv
# The first supported interpreter on the PATH; empty when there is none.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)

BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
MADE := $(VENV)/.hecore-made
RUN := $(VENV)/.hecore-installed
TEST := $(VENV)/.hecore-installed-test

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv demo test lint types pytest format leaks soak bench clean

help: ## show the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; \
	do printf '  make %-8s %s\n' "$$name" "$$text"; done

venv: $(TEST) ## make the virtual environment for development

demo: $(RUN) ## run a joint job of two companies on real data
	$(BIN)/hecore demo

# All three run, whatever the first ones find: a line too long must not hide a wrong result.
test: $(TEST) ## lint, type check, tests
	@failed=; for step in lint types pytest; do \
		$(MAKE) --no-print-directory $$step || failed="$$failed $$step"; done; \
	test -z "$$failed" || { echo "make test: failed in$$failed" >&2; exit 1; }

pytest: $(TEST) ## the tests alone, on all cores
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(TEST) ## ruff: rules and layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TEST) ## mypy --strict on the installed wheel
	$(BIN)/python .ci/wheel.py --install build/types/site
	cd build/types && MYPYPATH=site $(BIN)/mypy --config-file "$(CURDIR)/pyproject.toml" \
		--cache-dir cache --package hecore

format: $(TEST) ## let ruff mend layout and simple findings
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

leaks: $(TEST) ## copy the tables of THREAT_MODEL.md into the package, for `hecore report`
	$(BIN)/python .ci/leaks.py

# A quarter of an hour or two; its record stands in docs/reliability.md.
soak: $(TEST) ## a million messages, a thousand kills: nothing lost, nothing twice
	HECORE_SOAK_MESSAGES=1000000 HECORE_SOAK_KILLS=1000 $(BIN)/python -m pytest -m slow -s \
		tests/algorithms/channel/test_kills.py tests/algorithms/channel/test_faults.py \
		tests/algorithms/test_run_kills.py tests/algorithms/demo/test_running.py

bench: $(TEST) ## pytest-benchmark over tests/bench
	$(BIN)/python -m pytest tests/bench --benchmark-enable --benchmark-only

clean: ## remove what make has made, the virtual environment included
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp comes last: a virtual environment that was left half made is finished next time.
$(MADE):
	@test -n "$(PYTHON)" || { echo "hecore needs Python 3.11, 3.12 or 3.13: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(RUN): pyproject.toml | $(MADE)
	$(PIP) install --quiet --editable .
	@touch $@

$(TEST): pyproject.toml | $(MADE)
	$(PIP) install --quiet --editable '.[test]'
	@touch $@ $(RUN)
