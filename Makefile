# Everything a fresh machine with Python 3.11 or later and make needs. Only relative paths: the checkout's may have spaces.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
# The lock is complete, and the pip of Python 3.11 cannot resolve gql[requests] under hashes: hence no dependencies.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
# A virtual environment does not survive being moved, so the stamps carry the path they were made at.
HERE := $(shell pwd | cksum | cut -d ' ' -f 1)
MADE := .venv/.made-$(HERE)
READY := .venv/.installed-$(HERE)

QUICK := $(addprefix credit_pipeline_tests/,test_architecture.py test_docs.py config components domain services)

.DEFAULT_GOAL := help
.PHONY: help demo test quick check ui bench calendar judgements house lock

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' Makefile
	@echo 'Arguments go in ARGS, as in make demo ARGS="--accounts 200"; another Python in PYTHON.'

demo: $(READY) ## plant a product with broken balances, find them, approve and apply the repair
	@$(BIN)/credit-pipeline demo $(ARGS)

test: $(READY) ## run the whole test suite
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

quick: check ## what to run before each commit: lint, types, rules and documents
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m 'not slow' $(QUICK) $(ARGS)

check: $(READY) ## lint and type-check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

ui: $(READY) ## open the Dagster UI on the demo's data
	@$(BIN)/credit-pipeline ui $(ARGS)

bench: $(READY) ## run the benchmarks
	@$(BIN)/python -m credit_pipeline_tests.benchmarks $(ARGS)

calendar: $(READY) ## play the sandbox on fifty dates; with ARGS=--cli the command line's tests, for hours
	@$(BIN)/python -m credit_pipeline_tests.calendar $(ARGS)

judgements: $(READY) ## record judgements as data; ARGS="--against DIR" judges recorded inputs again
	@$(BIN)/python -m credit_pipeline_tests.judgements $(ARGS)

house: $(READY) ## print files per folder, lines and types; ARGS names another checkout
	@$(BIN)/python -m credit_pipeline_tests.house $(ARGS)

lock: $(MADE) ## resolve the dependencies in pyproject.toml anew, into requirements.lock
	@"$(PYTHON)" -m venv --clear .venv/lock
	@.venv/lock/bin/python -m pip install --quiet uv
	@.venv/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev \
	  --generate-hashes --only-binary :all: --no-emit-index-url --no-emit-find-links --no-annotate \
	  --custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml

$(MADE):
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null || { \
	  echo 'credit_pipeline needs Python 3.11 to 3.14 and $(PYTHON) is none: name one, as in make demo PYTHON=python3.13.' >&2; \
	  exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo '$(PYTHON) cannot make virtual environments: install its venv package (Debian: python3-venv).' >&2; \
	  exit 2; }
	@"$(PYTHON)" -m venv --clear .venv
	@touch $@

$(READY): $(MADE) pyproject.toml requirements.lock
	@echo 'Installing the locked packages into .venv; the first time takes a minute or two.' >&2
	@$(PIP) --require-hashes --only-binary :all: -r requirements.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $@
