# make demo   set everything up and classify a small simulated set
# make test   set everything up and check the project
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.complete
SNAKEFILES := Snakefile workflow
REPORT := results/demo/report/index.html

.PHONY: help setup demo test lint clean
.DELETE_ON_ERROR:

help:
	@echo "make setup   a private environment in $(VENV), with everything"
	@echo "make demo    setup; simulate a small set of images and classify it"
	@echo "make test    setup; format, types and tests"
	@echo "make lint    setup; format and types only"
	@echo "make clean   remove the environment and the results of the demo"

setup: $(STAMP)

# The build tool is one of the pinned packages, hence no isolated build.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is no Python 3.11 or later; say make PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	@touch $@

demo: setup
	$(BIN)/snakemake --profile profiles/local
	@echo
	@echo "The report is in $(CURDIR)/$(REPORT)"

test: lint
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check $(SNAKEFILES)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) results/demo resources/demo_2d .pytest_cache .mypy_cache .ruff_cache
