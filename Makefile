# Needs make and Python 3.11 or newer; every target builds .venv itself. Another interpreter: make PYTHON=/path/to/python3.12 solve
.DEFAULT_GOAL := solve
.PHONY: solve test lint bench index clean

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(firstword $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python; done))
endif
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

solve: .venv/.installed
	@$(BIN)/gpuplan solve scenarios/quickstart.yaml -O plans/quickstart.plan.json

# pytest-xdist is one of the development tools, but a packager may leave it out.
test: .venv/.tools
	@$(BIN)/python -m pytest $$($(BIN)/python -c 'from importlib.util import find_spec as f; print("-n 2" if f("xdist") else "")')

lint: .venv/.tools
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

bench: .venv/.installed
	@$(BIN)/python benchmarks/bench.py
	@$(BIN)/python benchmarks/silicon.py

index: .venv/.installed
	@$(BIN)/python -m catalog.index

clean:
	@rm -rf .venv plans build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.python:
	@$(or $(PYTHON),false) -c '$(NEW_ENOUGH)' 2>/dev/null \
		|| { echo "gpuplan needs Python 3.11 or newer: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.installed: .venv/.python pyproject.toml
	@echo "installing gpuplan into .venv (once)" >&2
	@$(PIP) install --editable .
	@touch $@

.venv/.tools: .venv/.installed
	@echo "installing the development tools into .venv (once)" >&2
	@$(PIP) install --editable '.[dev]'
	@touch $@
