.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help venv demo test check bench faults clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.ready ## the environment in .venv, quick when nothing changed

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv -c constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e . --group dev
	touch $@

demo: venv ## sandbox + Airflow + the DAG; ONCE=1 ends by itself
	$(BIN)/likepion demo $(if $(ONCE),--once)

test: venv ## all tests
	$(BIN)/pytest $(ARGS)

check: venv ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: venv ## measured performance, side by side in one run
	$(BIN)/python -m tests.benchmarks

faults: venv ## the long campaign: models, odd answers, bad networks, kill -9
	$(BIN)/python -m tests.faults $(ARGS)

clean: ## remove the environment, the demo and all caches
	rm -rf $(VENV) .demo dist .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
