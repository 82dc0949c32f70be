# Lanework's commands. A machine needs Python >= 3.11 with pip, and make; everything else goes into .venv.
#   make demo      install, then run the main job on studies/digits.yaml and say where the report is
#   make test      install, then lint, format, types, import arrows and the default tests
#   make test-all  the same and the slow tests: every shipped study against its stated result
#   make check     lint, format, types and import arrows only
#   make bench     measure against the other tools and write the page docs/benchmarks.md
#   make faults    train the fault zoo, diagnose and mend it, and write docs/faults.md (SEED=1 draws another one)
#   make docs      write docs/reference/ anew from the catalogue, the command line and the schema

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORKERS ?= 2
SEED ?= 0
INPUTS := pyproject.toml constraints.txt

.PHONY: demo test test-all check bench run-bench faults docs clean
.DELETE_ON_ERROR:

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Lanework needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Could not make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

# One stamp for each set of packages: pip runs again only when the inputs changed.
$(VENV)/.installed: $(INPUTS) | $(BIN)/python
	@echo "Installing lanework into $(VENV) (once)"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(INPUTS) | $(BIN)/python
	@echo "Installing lanework and its development tools into $(VENV) (once)"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-oracles: $(VENV)/.installed-dev
	@echo "Installing the oracles into $(VENV) (once)"
	@$(PIP) install -c constraints.txt -e '.[oracles]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	@echo "Installing the tools to measure against into $(VENV) (once)"
	@$(PIP) install -c constraints.txt -e '.[bench]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/lanework run studies/digits.yaml --out runs/demo --overwrite

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A file is tested by one process, which trains what its tests share, and compiles what they call, once.
test: check
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not slow and not gpu" --doctest-modules src tests

test-all: check $(VENV)/.installed-oracles
	LANEWORK_TESTS_OPTIMISED=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not gpu" --doctest-modules src tests

# The other tools get an environment of their own: the one that people use stays without them.
bench:
	@$(MAKE) --no-print-directory VENV=.venv-bench run-bench

run-bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/run.py

faults: $(VENV)/.installed-dev
	$(BIN)/python -m studies.faults --seed $(SEED) --write

docs: $(VENV)/.installed-dev
	$(BIN)/python tools/make_reference.py

clean:
	rm -rf $(VENV) .venv-bench .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
