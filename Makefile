PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -p gevent

.PHONY: help venv test test-deep check demo bench clean

help:
	@echo "make test       the whole test suite"
	@echo "make test-deep  the same, with the property tests run 20 times longer"
	@echo "make check      format, lint, types, layers"
	@echo "make demo       a proxy, two agents and a file of 100 MB through them"
	@echo "make bench      speed, as ratios to socat run beside it"
	@echo "make venv       only $(VENV), with the versions of requirements.txt"
	@echo "make clean      remove all that these made"

venv: $(STAMP)

$(STAMP): requirements.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Hubble needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments: it lacks ensurepip (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	@touch $@

test: $(STAMP)
	$(PYTEST) $(ARGS)

test-deep: $(STAMP)
	HYPOTHESIS_PROFILE=deep $(PYTEST) $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict hubble
	$(BIN)/lint-imports

demo: $(STAMP)
	$(BIN)/python examples/demo.py $(ARGS)

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .venv-tools build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
