PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
STAMP := $(VENV)/.complete
SNAKEFILES := Snakefile workflow
REPORTS := results/demo/report/index.html results/demo_3d/report/index.html

# The launcher of the MPI programs stands beside Python.
export PATH := $(CURDIR)/$(BIN):$(PATH)

# Of which run, and where: make select RUN=demo DIRECTORY=work CONFIGFILE=my.yaml
OF_RUN = --run "$(RUN)" $(if $(DIRECTORY),--directory "$(DIRECTORY)") \
  $(if $(CONFIGFILE),--configfile "$(CONFIGFILE)")

.PHONY: help setup demo tutorial report select named screenshots figures pictures options \
  site quick test lint clean
.DELETE_ON_ERROR:

help:
	@echo "make setup   a private environment in $(VENV), with everything"
	@echo "make demo    setup; simulate images and subtomograms and classify them"
	@echo "make report RUN=demo   the report of a run, also while it goes on"
	@echo "make select RUN=demo   pick classes of a finished run in the browser"
	@echo "             (and DIRECTORY=work CONFIGFILE=my.yaml, if the run is elsewhere)"
	@echo "make figures demo; draw the figures of docs/ from it"
	@echo "make tutorial  setup; classify the experimental particles of docs/tutorial.md"
	@echo "make site    the documentation as a site with search, build/site"
	@echo "make quick   setup; format, types and the tests that start no workflow"
	@echo "make test    setup; format, types and all tests"
	@echo "             (and KERNEL=Haswell for the products of another processor)"
	@echo "make lint    setup; format and types only"
	@echo "make pictures  setup; draw the rules for the documentation, with Graphviz"
	@echo "make options   write the schema and the tables of config/README.md anew"
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

tutorial: setup
	$(BIN)/snakemake --profile profiles/local --configfile config/tutorial.yaml
	$(BIN)/python docs/tutorial_figures.py

report: named setup
	@$(BIN)/python workflow/scripts/interim_report.py $(OF_RUN)

# Ctrl-C is for the program alone; make would call it an error.
select: named setup
	@if [ -t 0 ]; then set -m; fi; \
	  $(BIN)/python workflow/scripts/select_in_browser.py $(OF_RUN) $(if $(PORT),--port $(PORT)); exit $$?

named:
	@test -n "$(RUN)" || { \
	  echo "error: no run is named; say for example make $(MAKECMDGOALS) RUN=demo" >&2; \
	  exit 1; }

screenshots: demo
	$(BIN)/python docs/screenshots.py

figures: demo
	$(BIN)/python docs/figures.py

# OpenBLAS rounds by the processor; with KERNEL=Haswell as one with AVX2 alone does.
PYTEST = $(if $(KERNEL),OPENBLAS_CORETYPE=$(KERNEL)) $(BIN)/python -m pytest

quick: lint
	$(PYTEST) -m "not slow"

test: lint
	@$(PIP) install --requirement tests/requirements.txt 2> /dev/null || \
	  echo "PyTorch for the processor cannot be had: tests of devices skip"
	$(PYTEST)

# What the options, src/cryokin/options, say: the schema and the tables of the manual.
options: setup
	$(BIN)/python -m cryokin.options

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check $(SNAKEFILES)
	$(BIN)/mypy

# The rules of a run, as Snakemake tells them; no run is needed.
PICTURES := docs/images/rulegraph.svg docs/images/rulegraph_3d.svg
docs/images/rulegraph.svg: RUN := demo
docs/images/rulegraph_3d.svg: RUN := demo_3d

pictures: setup $(PICTURES)

.PHONY: $(PICTURES)
$(PICTURES):
	@command -v dot > /dev/null || { \
	  echo "error: dot is not there; install Graphviz (apt-get install graphviz)" >&2; \
	  exit 1; }
	snakemake results/$(RUN)/report/index.html --profile profiles/local \
	  --rulegraph dot > $@.dot
	sed 's/bgcolor=white/bgcolor=transparent, rankdir=LR/' $@.dot | dot -Tsvg -o $@
	@rm $@.dot

# The pages lie in build/pages as here, so that their links hold in both places. What makes
# the site is an environment of its own.
PAGES = README.md CONTRIBUTING.md CHANGELOG.md LICENSE CITATION.cff Dockerfile \
  docs/*.md docs/images config/README.md profiles/README.md resources/README.md \
  resources/tutorial/README.md

site: build/environment/.complete
	rm -rf build/pages build/site
	mkdir -p build/pages
	cp -R --parents $(PAGES) build/pages
	NO_MKDOCS_2_WARNING=1 build/environment/bin/mkdocs build --strict
	@echo "$(CURDIR)/build/site/index.html"

build/environment/.complete: docs/requirements.txt
	$(PYTHON) -m venv --clear build/environment
	build/environment/bin/python -m pip --quiet --disable-pip-version-check install \
	  --requirement docs/requirements.txt
	@touch $@

clean:
	rm -rf build $(VENV) results/demo results/demo_3d results/bgal results/apoferritin \
	  results/ribosomes resources/demo_2d resources/demo_3d .pytest_cache .mypy_cache .ruff_cache
