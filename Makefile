PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SECONDS ?= 3600
PYTEST := $(BIN)/python -m pytest -p gevent
PROSE := README.md CONTRIBUTING.md SECURITY.md CHANGELOG.md $(wildcard docs/*.md)

.PHONY: help venv test test-deep fuzz check check-dashboard coverage docs options dist demo bench soak clean

help:
	@echo "make test       run the whole test suite"
	@echo "make test-deep  run it with property tests that take 20 times longer"
	@echo "make fuzz       fuzz every parser of untrusted input for a minute, or ARGS='--seconds 3600 wire'"
	@echo "make check      check format, lint, types, layers, prose, and the dashboard's JavaScript"
	@echo "make coverage   run the tests of the layers, and fail below the required branch coverage"
	@echo "make options    generate docs/options.md from the descriptions of the options"
	@echo "make docs       build the documentation in docs/_build/html; fail on broken links"
	@echo "make dist       build an sdist and a wheel in dist"
	@echo "make demo       send a file of 100 MB through a proxy and two agents"
	@echo "make bench      measure the speed, as ratios to socat on the same machine"
	@echo "make soak       run traffic for an hour (SECONDS=3600); fail if memory grows"
	@echo "make venv       create $(VENV) with the versions in requirements.txt"
	@echo "make clean      remove all generated files"

venv: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Hubble needs Python 3.11 or newer; choose one with: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot create virtual environments because ensurepip is missing (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	@touch $@

test: $(STAMP)
	$(PYTEST) $(ARGS)

test-deep: $(STAMP)
	HYPOTHESIS_PROFILE=deep $(PYTEST) $(ARGS)

fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/proselint --config .proselintrc.json check $(PROSE)
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory check-dashboard; \
	  elif [ -n "$$HUBBLE_REQUIRE_PROGRAMS" ]; then echo "npm is missing; install it to check the dashboard" >&2; exit 1; \
	  else echo "npm is not installed: the dashboard is not checked"; fi

check-dashboard:
	cd .ci/dashboard && npm ci --silent --no-audit --no-fund && npm run --silent check

coverage: $(STAMP)
	$(PYTEST) --ignore tests/e2e --ignore tests/hostile --ignore tests/package --cov=hubble --cov-branch --cov-report= $(ARGS)
	$(BIN)/coverage report --skip-covered --fail-under=95
	$(BIN)/coverage report --include='hubble/protocol/*' --fail-under=100

options: $(STAMP)
	$(BIN)/python -m hubble.options.reference > docs/options.md

docs: $(STAMP)
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

dist: $(STAMP)
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 315532800) $(BIN)/python -m build --quiet

demo: $(STAMP)
	$(BIN)/python examples/demo.py $(ARGS)

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(STAMP)
	$(BIN)/python -m benchmarks.soak $(SECONDS)

clean:
	rm -rf $(VENV) .venv-tools .ci/dashboard/node_modules docs/_build .coverage build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
