PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
STAMP := $(VENV)/.complete
SNAKEFILES := Snakefile workflow
REPORTS := results/demo/report/index.html results/demo_3d/report/index.html

# The launcher of the MPI programs stands beside Python.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup demo test lint clean
.DELETE_ON_ERROR:

help:
	@echo "make setup   a private environment in $(VENV), with everything"
	@echo "make demo    setup; simulate images and subtomograms and classify them"
	@echo "make test    setup; format, types and tests"
	@echo "make lint    setup; format and types only"
	@echo "make clean   remove the environment and the results of the demo"

setup: $(STAMP)

# First the pinned installer and build tool, which then build without fetching others.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is no Python 3.11 or later; say make PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --constraint requirements.lock pip setuptools
	$(PIP) install --no-build-isolation --requirement requirements.lock
	$(PIP) install --no-build-isolation --no-deps --editable .
	$(PIP) check
	@touch $@

demo: setup
	$(BIN)/snakemake --profile profiles/local
	@echo
	@echo "The reports are"
	@for page in $(REPORTS); do echo "  $(CURDIR)/$$page"; done

test: lint
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check $(SNAKEFILES)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) results/demo results/demo_3d resources/demo_2d resources/demo_3d .pytest_cache .mypy_cache .ruff_cache
