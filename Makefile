# `make` lists the targets. Everything happens in .venv, which the first run creates; a second run starts at once.

VENV ?= .venv
PYTHON ?= $(shell scripts/find-python)
ARGS ?=
MINUTES ?= 10
PIP = $(VENV)/bin/python -m pip install -qq --retries 10 --disable-pip-version-check
# Three processes of tests for two processors: many tests wait for another process, a lease or a lock.
JOBS ?= 3
PYTEST = $(VENV)/bin/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help demo bench test test-all reliability nightly soak burst simulate endurance lint format docs clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## turn the standard library into a searchable index, and survive a kill on the way
	@$(VENV)/bin/rowqueue demo $(ARGS)

test: $(VENV)/.installed-dev ## run every test, on SQLite, PostgreSQL and MariaDB
	@scripts/mariadb-for-tests
	@$(PYTEST)

lint: $(VENV)/.installed-dev ## check style, types and layers
	@echo "ruff check" && $(VENV)/bin/ruff check
	@echo "ruff format" && $(VENV)/bin/ruff format --check
	@echo "mypy" && $(VENV)/bin/mypy
	@echo "pyright" && $(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
	@echo "lint-imports" && $(VENV)/bin/lint-imports

format: $(VENV)/.installed-dev ## format the code and mend what ruff can mend
	@$(VENV)/bin/ruff check --fix-only --quiet
	@$(VENV)/bin/ruff format

docs: $(VENV)/.installed-docs ## build the documentation into site/; a warning is an error
	@$(VENV)/bin/zensical build --clean --strict
	@echo "site/index.html is the first page"

# The rows that reliability tests publish, and what the tests choose by.
FIGURES ?= .cache/figures.jsonl
LONG ?= --long
HOURS ?= 1
RELIABILITY = $(VENV)/bin/python -m pytest --reliability $(LONG) --hypothesis-seed=1 --figures $(FIGURES) $(ARGS)

# What loads the whole machine runs after the others, and alone. A row says what failed, so the page is written all the same.
reliability: $(VENV)/.installed-dev ## run every reliability test in its long form (some hours; LONG= for the short one) and write RELIABILITY.md
	@scripts/mariadb-for-tests
	@mkdir -p $(dir $(FIGURES)) && rm -f $(FIGURES)
	@-$(RELIABILITY) -n 2 --dist worksteal --ignore=tests/load --ignore=tests/support
	@-$(RELIABILITY) tests/load
	@-$(VENV)/bin/python -m tests.reliability $(FIGURES) --add '#4' 'more seeds' -- $(MAKE) --no-print-directory simulate ARGS=
	@$(VENV)/bin/python -m tests.reliability $(FIGURES)

nightly: $(VENV)/.installed-dev ## the same with a million seeds, a million jobs and a soak of HOURS=1
	@ROWQUEUE_SOAK_HOURS=$(HOURS) ROWQUEUE_BURST_JOBS=1000000 ROWQUEUE_STRESS_LOOPS=100 $(MAKE) --no-print-directory reliability SEEDS=$(or $(SEEDS),1000000)

soak: $(VENV)/.installed-dev ## feed workers evenly for five minutes, or HOURS=12, and see what grows
	@ROWQUEUE_SOAK_HOURS=$(if $(filter command,$(origin HOURS)),$(HOURS),0) $(RELIABILITY) tests/load/test_soak.py

burst: $(VENV)/.installed-dev ## enqueue and work a million jobs at once
	@ROWQUEUE_BURST_JOBS=1000000 $(RELIABILITY) tests/load/test_burst.py

bench: $(VENV)-bench/.installed ## measure rowqueue beside the plain driver and its peers; writes docs/benchmarks.md
	@$(VENV)-bench/bin/python -m benchmarks $(ARGS)

endurance: $(VENV)/.installed-dev ## run a worker for MINUTES=10 while its database is restarted and its processes are killed
	@$(VENV)/bin/python -m tests.endurance.run --minutes $(MINUTES) $(ARGS)

simulate: $(VENV)/.installed-dev ## run SEEDS=10000 simulations of the operations, or replay the one of SEED=n
	@$(VENV)/bin/python -m tests.simulation.simulate $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),10000)) $(ARGS)

test-all: ## run the tests on every Python from 3.11 to 3.13 that is found
	@failed=; for version in 3.11 3.12 3.13; do \
	  if python=$$(scripts/find-python $$version); then \
	    echo "== Python $$version"; \
	    $(MAKE) --no-print-directory test VENV=.venv-$$version PYTHON="$$python" || failed="$$failed $$version"; \
	  else echo "== Python $$version: not found, skipped"; fi; \
	done; \
	if [ -n "$$failed" ]; then echo "failed on:$$failed"; exit 1; fi

clean: ## remove the virtual environments, caches and what the demo left
	@rm -rf .venv .venv-3.* .venv-bench build dist site .cache .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -f *.db *.db-wal *.db-shm

# Stages: what the demo needs, what tests and linters need, what builds the documentation. A stamp is older than pyproject.toml only when
# something may have to be installed.
$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "no Python >= 3.11 with the venv module found; name one: make PYTHON=/path/to/python3"; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing rowqueue into $(VENV)"
	@$(PIP) -e '.[rich]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing rowqueue and its development tools into $(VENV)"
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/bin/python
	@echo "installing rowqueue and what builds its documentation into $(VENV)"
	@$(PIP) -e '.[docs]'
	@touch $@

# In an environment of its own: peers bring what they need, and one that cannot be installed is left out.
$(VENV)-bench/.installed: pyproject.toml
	@[ -x $(VENV)-bench/bin/python ] || $(PYTHON) -m venv $(VENV)-bench
	@echo "installing rowqueue, what its benchmarks need, and its peers into $(VENV)-bench"
	@$(VENV)-bench/bin/python -m pip install -qq --retries 10 --disable-pip-version-check -e '.[bench]'
	@$(VENV)-bench/bin/python -m pip install -qq --retries 10 --disable-pip-version-check -e '.[peers]' || echo "without peers"
	@touch $@
