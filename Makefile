# `make` lists the targets. `quickstart` and `test` need nothing before them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint conf/constraints.txt --editable

# What an installation is made from; when one of them changes, it is made anew.
SOURCES := pyproject.toml conf/constraints.txt hatch_build.py

# The deployment. Images carry the version; choices and secrets are what `make secrets` wrote.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
COMPOSE := env OLENS_VERSION=$(VERSION) \
	docker compose --env-file deploy/.env --file deploy/compose.yaml
# The stack that is there. Compose makes a network anew that is not as the files say, and stops what
# is on it, even to `run` something.
STACK ?= $(if $(shell docker inspect --format '{{json .HostConfig.PortBindings}}' \
	opinionlens-traefik-1 2>/dev/null | grep '"8443/tcp"'),prod,local)
IN_STACK = $(COMPOSE) --file deploy/compose.$(STACK).yaml
CHECK := @$(PYTHON) deploy/prepare.py check
# A service whose files have changed is started anew.
START = $(IN_STACK) config --format json | $(PYTHON) deploy/prepare.py sums \
	| $(IN_STACK) --file - up --detach --wait --remove-orphans
HASH_SECRET ?= $(if $(wildcard $(BIN)/olens),$(BIN)/olens,docker run --rm --interactive \
	--network none opinionlens-app:$(VERSION) olens) config hash-secret

# How backup.py reaches what it backs up.
IN_VOLUME = $(IN_STACK) run --rm -T --no-deps --entrypoint sh
PLACES = --postgres '$(COMPOSE) exec -T postgres' \
	--artifacts '$(IN_VOLUME) registry' /var/lib/mlflow \
	--models '$(IN_VOLUME) app' /srv/opinionlens/models \
	--labels '$(IN_VOLUME) app' /srv/opinionlens/labels \
	--stop '$(COMPOSE) stop app registry' --start '$(COMPOSE) start registry app'

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

WARM_UP := $(BIN)/python -c 'from pipelines.workflows.doctor import warm_up; warm_up(training=True)'

$(VENV)/.train: $(SOURCES) | $(BIN)/python
	$(PIP_INSTALL) '.[train]'
	$(WARM_UP)
	@touch $@

# The extra dev has all of train.
$(VENV)/.dev: $(SOURCES) | $(BIN)/python
	$(PIP_INSTALL) '.[dev]'
	$(WARM_UP)
	@touch $(VENV)/.train $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP_INSTALL) '.[dev,bench]'
	@touch $@

# What the tests of clusters need besides; they are skipped without it.
$(VENV)/.cluster: $(SOURCES) | $(BIN)/python
	$(PIP_INSTALL) '.[dev,ray,spark]'
	$(WARM_UP)
	@touch $(VENV)/.train $(VENV)/.dev $@

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

.PHONY: chaos
chaos: $(VENV)/.dev ## Hurt a service for some minutes, and print what was tried and what failed.
	$(BIN)/python -m tests.chaos $(CHAOS)

.PHONY: base-model
base-model: $(VENV)/.bench ## Make the models that come with the package; wants OLENS_REAL_DATA.
	$(BIN)/olens base-model
	$(BIN)/olens base-model --base3

.PHONY: mlflow
mlflow: install ## Open the tracking store in MLflow's own page, http://127.0.0.1:5000.
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --port 5000

.PHONY: build build-app build-registry
build: build-app build-registry ## Build the images, both at once with -j2; on BASE_IMAGE=... if you like.

build-app build-registry: build-%:
	docker build --file docker/$*.Dockerfile --build-arg VERSION=$(VERSION) \
		$(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
		--tag opinionlens-$*:$(VERSION) .

.PHONY: secrets
secrets: ## Write the secrets and choices of the deployment that are not there yet.
	@$(PYTHON) deploy/prepare.py secrets -- $(HASH_SECRET)

.PHONY: config
config: ## Show what compose makes of the files; STACK=local or prod, else the one that runs.
	@$(IN_STACK) config

.PHONY: up
up: STACK := local
up: ## Start the local stack: http://opinionlens.localhost.
	$(CHECK)
	@$(START)

.PHONY: up-prod
up-prod: STACK := prod
up-prod: ## Start the public stack: the domain of deploy/.env, over HTTPS.
	$(CHECK) --public
	@$(START)

.PHONY: down
down: ## Stop the stack; what it holds stays in its volumes.
	$(COMPOSE) down --remove-orphans

.PHONY: logs
logs: ## Follow the logs, of SERVICE=app alone if you like.
	$(COMPOSE) logs --follow --tail 100 $(SERVICE)

.PHONY: ps
ps: ## Show the services and their health.
	$(COMPOSE) ps --all

.PHONY: backup
backup: ## Back up databases, artifacts, models and labels to backups/; KEEP=14 removes older ones.
	@$(PYTHON) deploy/backup.py backup backups $(PLACES) $(if $(KEEP),--keep $(KEEP))

.PHONY: restore
restore: ## Restore the newest backup, or FROM=backups/...; asks first, unless YES=1.
	@YES=$(YES) $(PYTHON) deploy/backup.py restore backups $(PLACES) $(if $(FROM),--from $(FROM))

.PHONY: migrate
migrate: ## Bring the registry's database to the schema of this version, after an upgrade.
	$(COMPOSE) stop registry
	$(IN_STACK) up --detach --wait --no-recreate postgres
	$(IN_STACK) run --rm --no-deps registry mlflow db upgrade postgresql+psycopg2:///mlflow

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
