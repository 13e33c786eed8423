# From a fresh checkout: needs make, git and python3 (3.11 or newer) with its venv module. Everything else is installed into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
FLIGHTS := examples/flights/flights

.DEFAULT_GOAL := help
.PHONY: help run test lint soak bench clean check-python cluster cluster-demo

help: ## Say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: $(VENV)/run.stamp ## Run the flights example; what it makes lies in examples/flights/out
	@$(BIN)/noetl executions list --path $(FLIGHTS) --json | $(BIN)/python examples/flights/unfinished.py $(BIN)/noetl
	$(BIN)/noetl run $(FLIGHTS).yaml

cluster: $(VENV)/local.stamp ## Run a cluster here: NATS, PostgreSQL, two servers and three workers
	@$(BIN)/python deploy/local/cluster.py up

cluster-demo: $(VENV)/local.stamp ## Show one: a fan-out over all its workers, one of which is killed
	@$(BIN)/python deploy/local/cluster.py demo

test: lint ## Check format, style and types, then run the tests
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/dev.stamp ## Check format, style and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy --strict

soak: $(VENV)/dev.stamp ## Run the simulations under many seeds, and a cluster for an hour
	NOETL_TEST_SEEDS=500 $(BIN)/python -m pytest --timeout 36000 tests/simulation/test_cluster.py
	NOETL_SOAK=1 $(BIN)/python -m pytest tests/soak
	NOETL_TEST_SEEDS=10000 $(BIN)/python -m pytest --timeout 36000 tests/simulation --ignore tests/simulation/test_cluster.py

bench: $(VENV)/dev.stamp ## Measure: the engine, the command line, memory, the actor runtime, the API, a cluster
	$(BIN)/python bench/engine.py
	$(BIN)/python bench/cli.py
	$(BIN)/python bench/memory.py
	$(BIN)/python bench/runtime.py
	$(BIN)/python bench/api.py
	$(BIN)/python bench/cluster.py

clean: ## Delete what was installed and made; the runs in .noetl stay
	rm -rf $(VENV) build dist examples/flights/out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# A stamp is older than pyproject.toml when something must be installed.

$(VENV)/run.stamp: pyproject.toml | check-python
	@echo "installing into $(VENV), once; this takes a minute or two"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[all,examples]'
	@touch $@

$(VENV)/local.stamp: pyproject.toml $(VENV)/run.stamp | check-python
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[all,examples,local]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(VENV)/run.stamp | check-python
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[all,examples,dev]'
	@touch $@

check-python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt-get install python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: apt-get install python3.11, then make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "the venv module of $(PYTHON) is missing: apt-get install python3-venv" >&2; exit 1; }
