# make setup   a virtual environment in .venv with everything (quick when nothing changed)
# make demo    set-up, then the main job: a real model to a trained, evaluated dictionary
# make test    set-up, then the whole default test suite
# make check   format, lint, types, layers, fresh reference pages, fast tests
# make e2e     the installed command, and the web app in a browser (needs Chromium; with Node axe looks at it too)
# make bench   the measurements behind docs/results
# make web     the web app: types, format, lint, tests, and the bundle that travels in the wheel (needs Node)
# make web-check   the same without writing: the committed bundle and types must be what the sources give
# make docs    the documentation site, strict

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
WEB_STAMP := web/node_modules/.ready
WEB_BUNDLE := src/lmscope/server/static
DOCS_STAMP := $(VENV)/.docs-ready
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test check bench web web-check e2e docs clean

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

$(WEB_STAMP): web/package.json web/package-lock.json
	@node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' \
		|| { echo "Building the web app needs Node 20.19 or newer; using lmscope does not."; exit 1; }
	cd web && npm ci --no-audit --no-fund
	@touch $(WEB_STAMP)

web: $(WEB_STAMP)
	cd web && npm run types && npm run check && npm test && npm run build

web-check: $(WEB_STAMP)
	cd web && npm run check && npm test
	@built=$$(mktemp -d) && trap 'rm -rf "$$built"' EXIT && cd web \
		&& npx --no-install openapi-typescript ../docs/reference/openapi.json --output "$$built/schema.d.ts" && npm run --silent build -- --outDir "$$built/static" --emptyOutDir \
		&& diff "$$built/schema.d.ts" src/api/schema.d.ts \
		&& diff --recursive --brief "$$built/static" ../$(WEB_BUNDLE) \
		&& echo "The committed types and bundle are what the sources give." \
		|| { echo "Types or bundle are not what the sources give: run make web and commit what it writes."; exit 1; }

# axe, which looks for what keeps people out of a page, is among the web app's development packages.
e2e: setup $(if $(shell command -v npm),$(WEB_STAMP))
	$(BIN)/pytest -n 0 -q -rs -m e2e tests/e2e

docs: $(DOCS_STAMP)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) web/node_modules site dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
