.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
# What is downloaded stays in the checkout: the caches of uv and pip in the home directory come to 600 MB.
export UV_NO_CACHE ?= 1
export PIP_NO_CACHE_DIR ?= 1

.PHONY: help venv demo test check check-format check-lint check-types check-layers check-docker bench faults cluster \
	matrix newcomer real docs screenshots words clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.ready ## the environment in .venv, quick when nothing changed

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv -c constraints.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e . --group dev
	$(BIN)/python -m compileall -q likepion_provider
	touch $@

demo: venv ## sandbox + Airflow + the DAG; ONCE=1 ends by itself
	$(BIN)/likepion demo $(if $(ONCE),--once)

test: venv ## all tests, two files at a time; JOBS=0 for one after the other
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

check: check-format check-lint check-types check-layers check-docker ## format, lint, types, layers, docker/; one part: make check-lint and so on

check-format: venv
	$(BIN)/ruff format --check .

check-lint: venv
	$(BIN)/ruff check .

check-types: venv
	$(BIN)/mypy

check-layers: venv
	$(BIN)/lint-imports

check-docker: venv
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml

bench: venv ## measured performance, side by side in one run
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt --group cluster
	$(BIN)/python -m tests.benchmarks --write $(ARGS)

faults: venv ## the long campaign: models, odd answers, bad networks, kill -9
	$(BIN)/python -m tests.faults $(ARGS)

cluster: venv ## the demo's job on two Celery workers, one of which dies; needs PostgreSQL and Redis
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt --group cluster
	$(BIN)/python -m tests.cluster

matrix: venv ## the wheel beside five Airflows, on the oldest and the newest Python
	$(BIN)/python -m tests.matrix $(ARGS)

newcomer: venv ## README's commands alone, from a bare machine to a delivered run; before a release
	$(BIN)/python -m tests.newcomer

real: venv ## importers against the real servers that LIKEPION_REAL_... name; the others are skipped aloud
	$(BIN)/pytest -rs -p no:randomly tests/real $(ARGS)

docs: venv ## the documentation as a site in site/, links and anchors checked
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet $(ARGS)

screenshots: venv ## the pictures of the documentation, by Chromium from a real Airflow
	$(BIN)/python -m tests.browser.screenshots

words: venv ## gather what people read, bring the catalogues up to date and compile them; 1 where words are missing
	$(BIN)/python -m tests.words

clean: ## remove the environment, the demo and all caches
	rm -rf $(VENV) .demo dist site .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
