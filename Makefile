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
.PHONY: help setup demo test simulate lint bench clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

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

test: lint ## Lint, then run all tests but the simulation
	$(BIN)/pytest -n 2 --dist worksteal --ignore=tests/simulation

# Apart from `test`, which people wait for; continuous integration runs both.
SEEDS ?= 2000
simulate: $(STAMP) ## Break what can break: known seeds, planted faults, SEEDS=2000 fresh ones (SEED=n replays one)
ifdef SEED
	@exec $(BIN)/python -m tests.simulation $(SEED)
else
	$(BIN)/pytest -n 2 tests/simulation
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --fresh
endif

bench: $(STAMP) ## Measure the core's throughput
	@exec $(BIN)/python -m tests.benchmarks.core_throughput

clean: ## Remove what setup and the tools made
	rm -rf $(VENV) .uv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache \
	  .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
