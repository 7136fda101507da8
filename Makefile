# make setup   a virtual environment in .venv with everything (quick when nothing changed)
# make demo    set-up, then the main job: a real model to a trained, evaluated dictionary
# make test    set-up, then the whole default test suite
# make check   format, lint, types, layers, fresh reference pages, fast tests
# make bench   the measurements behind docs/results
# make docs    the documentation site, strict

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
DOCS_STAMP := $(VENV)/.docs-ready
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test check bench docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "lmscope needs Python 3.11 or newer: make PYTHON=python3.11 setup"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $(DOCS_STAMP)

demo: setup
	@$(BIN)/lmscope models get smollm2-135m-instruct-q4
	@$(BIN)/lmscope demo

test: setup
	$(BIN)/pytest -n $(WORKERS) -q

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/python scripts/write_reference.py --check
	$(BIN)/pytest -n $(WORKERS) -q tests/architecture tests/core tests/runs tests/cli

bench: setup
	$(BIN)/python benchmarks/dictionary_step.py
	$(BIN)/python benchmarks/activation_reading.py
	$(BIN)/python benchmarks/one_pass_many_sites.py

docs: $(DOCS_STAMP)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
