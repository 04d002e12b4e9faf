# The targets people need; each works in a fresh checkout. `make` alone lists them.

# No Python is ever downloaded: a machine without one gets an error that says so. uv's cache goes
# into the project where there is no home folder to write to.
export UV_PYTHON_DOWNLOADS := never
export UV_COMPILE_BYTECODE := 1
ifeq ($(shell test -n "$$HOME" -a -d "$$HOME" -a -w "$$HOME" && echo writable),)
export UV_CACHE_DIR ?= $(CURDIR)/.uv/cache
endif

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.up-to-date

.DEFAULT_GOAL := help
.PHONY: help setup demo test long simulate fuzz lint bench clean
.PHONY: localstack-up localstack-down localstack-status e2e
.PHONY: lambda-bundle

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(STAMP) ## Install everything into .venv (quick when there is nothing to do)

$(STAMP): pyproject.toml uv.lock .ci/setup
	@.ci/setup $(VENV)
	@touch $@

# `exec`, so that no shell stands between the terminal and the program: Ctrl+C reaches it, and make
# reports the program's own exit code.
demo: $(STAMP) ## Run the whole system on this machine with sample data
	@exec $(BIN)/tillstream demo

lint: $(STAMP) ## Check style, types, layers and templates
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cfn-lint 'infra/*.yaml'

PYTEST := $(BIN)/pytest -n 2 --dist worksteal --ignore=tests/simulation

test: lint ## Lint, then run the tests that take seconds
	$(PYTEST) -m "not long and not browser"

long: $(STAMP) ## Run the tests that take minutes on the embedded servers: whole files, kills, bundles
	$(PYTEST) -m long

# Apart from `test`, which does with PyPI alone: a browser comes from Debian.
.PHONY: report-test
report-test: $(STAMP) ## Run the tests of the report's page in Chromium, which is installed if none is there
	@.ci/chromium
	$(BIN)/pytest tests/report

# Needs nothing prepared: Debian's server is installed where it is missing.
.PHONY: warehouse-15
warehouse-15: $(STAMP) ## Hold the warehouse to Debian's PostgreSQL 15, on a throw-away server
	$(PYTEST) --postgres 15 tests/contract/test_warehouse*.py tests/integration/test_warehouse_*.py \
	  tests/infra/test_loader.py tests/e2e/test_maintenance_embedded.py

# Apart from `test`, which people wait for; continuous integration runs both.
SEEDS ?= 2000
simulate: $(STAMP) ## Break what can break: known seeds, planted faults, SEEDS=2000 fresh ones (SEED=n replays one)
ifdef SEED
	@exec $(BIN)/python -m tests.simulation $(SEED)
else
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --fresh
	$(BIN)/pytest -n 2 tests/simulation
endif

# Apart from `setup`: building it fetches 79 jars from Maven Central.
.PHONY: kcl
kcl: $(STAMP) ## Install the daemons of the KCL engine too, and a Java for them
	@.ci/setup $(VENV) kcl

# Apart from `test` too: it installs half a gigabyte. A LocalStack that is up stays up.
e2e: kcl ## Run the tests that need LocalStack, which is started for them
	$(BIN)/pytest tests/localstack tests/contract --ignore-glob='*/test_warehouse*' \
	  --stacks localstack-single,localstack-batch --durations=10

localstack-up: $(STAMP) ## Start LocalStack with PostgreSQL and Redis, without Docker
	@exec $(BIN)/tillstream localstack up

localstack-down: $(STAMP) ## Stop them
	@exec $(BIN)/tillstream localstack down

localstack-status: $(STAMP) ## Say how they are
	@exec $(BIN)/tillstream localstack status

# Five minutes are for whoever changed the parser; continuous integration takes 20 seconds of one seed.
FUZZ_SECONDS ?= 300
fuzz: $(STAMP) ## Feed the parser hostile bytes (FUZZ_SECONDS=n, SEED=n)
	@exec $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(if $(SEED),--seed $(SEED))

# Of the runtime that the functions will have; byte code is only for the version that .venv has.
LAMBDA_PYTHON ?= $(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
LAMBDA_ARCH ?= x86_64

lambda-bundle: $(STAMP) ## Build the Lambda functions' zips into build/lambda
	@exec $(BIN)/python -m infra.bundles --python $(LAMBDA_PYTHON) --arch $(LAMBDA_ARCH)

# What a test compares with the schema and with what queries answer; SQL and prose stay as they are.
.PHONY: docs
docs: $(STAMP) ## Write docs/data-dictionary.md and the results in docs/queries.md anew
	$(BIN)/pytest --rewrite-docs tests/integration/test_data_dictionary.py \
	  tests/integration/test_queries.py

bench: $(STAMP) ## Measure the core's throughput
	@exec $(BIN)/python -m tests.benchmarks.core_throughput

clean: ## Remove what setup and the tools made
	rm -rf $(VENV) .uv .localstack build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache \
	  .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
