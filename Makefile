# `make` lists the targets. `quickstart` and `test` need nothing before them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint conf/constraints.txt --editable

# What an installation is made from; when one of them changes, it is made anew.
SOURCES := pyproject.toml conf/constraints.txt hatch_build.py

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: $(SOURCES) | $(BIN)/python
	$(PIP_INSTALL) '.[train]'
	$(BIN)/python -c 'from pipelines.doctor import warm_up; warm_up()'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	$(PIP_INSTALL) '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP_INSTALL) '.[dev,bench]'
	@touch $@

.PHONY: install
install: $(VENV)/.train ## Make .venv with the olens command.

.PHONY: quickstart
quickstart: install ## From texts to a served model: the page on http://127.0.0.1:8000.
	$(BIN)/olens quickstart

.PHONY: test
test: $(VENV)/.dev ## Run the tests; those that need more than this machine has are skipped.
	$(BIN)/python -m pytest $(PYTEST)

.PHONY: lint
lint: $(VENV)/.dev ## Check format, style, types and the direction of imports.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: $(VENV)/.bench ## Measure accuracy and speed against their rivals; wants OLENS_REAL_DATA.
	$(BIN)/python -m tests.benchmarks $(BENCH)

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Fuzz the byte kernels for ten minutes, SECONDS=60 for one.
	$(PIP_INSTALL) '.[fuzz]'
	$(BIN)/python -m tests.fuzz.kernels

.PHONY: load
load: $(VENV)/.bench ## Load a service of two workers for a minute and print the table.
	$(BIN)/python -m tests.load

.PHONY: base-model
base-model: $(VENV)/.bench ## Make the model that comes with the package; wants OLENS_REAL_DATA.
	$(BIN)/olens base-model

.PHONY: mlflow
mlflow: install ## Open the tracking store in MLflow's own page, http://127.0.0.1:5000.
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --port 5000

.PHONY: dashboards
dashboards: $(VENV)/.dev ## Write Grafana's dashboards from their code, deploy/grafana/boards.
	$(BIN)/python -m deploy.grafana.dashboards

.PHONY: constraints
constraints: $(VENV)/.dev ## Pin the newest versions that pyproject.toml allows.
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --all-extras --strip-extras --upgrade --no-emit-index-url \
		--no-emit-find-links --no-emit-options --no-header --no-annotate \
		--output-file conf/constraints.txt pyproject.toml
	@# The dev extra names the project itself, which is no constraint.
	sed -i '/opinionlens/d' conf/constraints.txt
