# Everything runs from .venv at the root; stamps in it say what has been installed, so that a second run installs nothing.
# Settings pass through: `PORT=9000 make run` and `make run PORT=9000` do the same. PYTHON=... chooses the Python of a new .venv.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
PYTEST := $(PY) -m pytest
# The packet plane's own tests, which run three times: interpreted, compiled with bounds checks, and as shipped.
PLANE := tests/router tests/rtp
# What talks to real processes over real sockets may meet a moment in which the machine did something else: such a test is
# tried once more, and pytest's closing line says how many were.
# Nothing waits for ever: what takes longer than so many seconds is interrupted, so that pytest says where it was, and fails.
# A quiet machine with two cores needs half of them at most.
within = timeout --foreground --signal=INT --kill-after=60 $(1)
MAKEFLAGS += --no-print-directory
# For what takes one processor and no time of others: the output of each comes whole when it is done.
TWO_AT_ONCE = $(MAKE) --jobs=2 --output-sync=target

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check check-python check-web bench bench-micro fuzz soak clean compile compile-checked test-interpreted test-checked

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start the server and print the address of its page
	@exec $(PY) -m sluicegate serve

test: ## install what the tests need, check, then run every test
	@scripts/system-packages
	@$(MAKE) check
	@$(TWO_AT_ONCE) compile compile-checked
	@$(TWO_AT_ONCE) test-interpreted test-checked
	$(call within,1800) $(PYTEST) --reruns 1 $(ARGS)

compile:
	@$(call within,900) $(PY) scripts/compile-plane

compile-checked:
	@NUMBA_BOUNDSCHECK=1 $(call within,900) $(PY) scripts/compile-plane

test-interpreted:
	NUMBA_DISABLE_JIT=1 $(call within,900) $(PYTEST) $(PLANE) $(ARGS)

test-checked:
	NUMBA_BOUNDSCHECK=1 $(call within,900) $(PYTEST) $(PLANE) $(ARGS)

check: check-python check-web ## lint, formatting, types (Python and the page's JavaScript), import floors

check-python: $(VENV)/.test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

check-web: web-build/node_modules/.installed
	npm --prefix web-build run --silent check

bench: $(VENV)/.bench ## what a forwarded packet costs: prints the table (ARGS=... goes to the benchmark)
	$(PY) -m benchmarks $(ARGS)

bench-micro: $(VENV)/.bench ## single functions, measured alone
	$(PYTEST) benchmarks/micro -o python_files='bench_*.py' --benchmark-only --timeout=0 $(ARGS)

fuzz: $(VENV)/.test ## a million mutated datagrams, every parser under atheris, property tests (FUZZ_EXAMPLES=20000)
	$(PY) -m tests.fuzz.process --count $(or $(FUZZ_DATAGRAMS),1000000)
	$(PY) -m tests.fuzz.path --count $(or $(FUZZ_DATAGRAMS),1000000)
	NUMBA_DISABLE_JIT=1 $(PY) -m tests.fuzz.path --count $(or $(FUZZ_DATAGRAMS),1000000)
	$(PY) -m tests.fuzz.targets --all $(or $(FUZZ_SECONDS),60)
	HYPOTHESIS_PROFILE=fuzz NUMBA_BOUNDSCHECK=1 $(PYTEST) -m hypothesis --timeout=0 --session-timeout=86400 $(ARGS)

soak: $(VENV)/.test ## hours of load
	$(PYTEST) -m soak --timeout=0 --session-timeout=86400 $(ARGS)

clean: ## remove .venv and everything else that make made
	rm -rf $(VENV) web-build/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@python=$$(scripts/find-python) && echo "Making $(VENV) with $$python" && "$$python" -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(PY)
	@echo 'Installing the server (once)'
	@$(PIP) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(PY)
	@echo 'Installing the server and what its tests need (once)'
	@$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml $(VENV)/.test
	@$(PIP) --editable '.[test,bench]'
	@touch $@

web-build/node_modules/.installed: web-build/package.json web-build/package-lock.json
	@command -v npm >/dev/null || { echo 'npm is not installed; run scripts/system-packages' >&2; exit 1; }
	@npm --prefix web-build ci --no-audit --no-fund --loglevel=error
	@touch $@
