# Everything below makes and uses .venv; the only needs are Python 3.11 or newer and make.
PYTHON ?= python3
ENV ?= cartpole
BIN := .venv/bin

PYTHONS ?= 3.11 3.12 3.13
LOWEST := build/lowest

.PHONY: run test test-pythons test-lowest coverage mutants soak install peers peers-jax test-browser bench bench-quick results clean clean-cache

run: .venv/installed
	$(BIN)/python -m lfcs.study.first_run $(ENV)

test: .venv/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

soak: .venv/installed  # kills, damaged files, hostile environments and command lines by the hundred: an hour or so
	$(BIN)/python -m pytest -m soak -n 2

test-browser: .venv/installed  # TensorBoard and the page of a run in headless Chromium; pictures go to docs/images
	$(BIN)/python -m pip install --quiet --no-input --constraint constraints.txt --editable ".[browser,plots,dev]"
	LFCS_SCREENSHOTS=docs/images $(BIN)/python -m pytest -m browser -rs tests/test_browser.py

test-pythons:  # the wheel in a fresh environment of each Python that is installed: as a stranger, then the whole suite
	rm -rf build && mkdir -p build/pythons
	set -e; for v in $(PYTHONS); do \
	  if ! python$$v -c "" 2>/dev/null; then echo "Python $$v is not installed: skipped"; continue; fi; \
	  echo "Python $$v"; at=build/pythons/$$v; python$$v -m venv $$at; \
	  $$at/bin/python -m pip wheel --quiet --no-input --no-deps --wheel-dir $$at/wheel .; \
	  $$at/bin/python -m pip install --quiet --no-input --constraint constraints.txt \
	    "$$(echo $$at/wheel/lfcs-*.whl)[atari,plots,video,dev]"; \
	  $$at/bin/python tests/from_wheel.py $$at/bin/lfcs; \
	  $$at/bin/pytest -q -n 2 tests; \
	done

test-lowest:  # the whole suite with exactly the lower bounds of setup.cfg
	rm -rf $(LOWEST) && $(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tests/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --no-input --constraint $(LOWEST)/constraints.txt \
	  --editable ".[atari,plots,video,dev]"
	NUMBA_CACHE_DIR=$(LOWEST)/cache $(LOWEST)/bin/python -m pytest -q -n 2

coverage: .venv/installed  # of lines in Python; what only compiled code runs is not counted, see pyproject.toml
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n 2
	$(BIN)/coverage combine --quiet && $(BIN)/coverage report --fail-under=95

mutants: .venv/installed  # one operator or number of the equations changed at a time: those that no test notices
	$(BIN)/python tests/mutants.py

bench: .venv/installed
	$(BIN)/lfcs bench --out experiments/results/benchmark.json

bench-quick: .venv/installed
	$(BIN)/lfcs bench --quick

results: .venv/installed  # every task beside published figures; RESULTS="--tasks cartpole --agents lf-cs" for a part
	$(BIN)/python -m lfcs.study.standings $(RESULTS)

install: .venv/installed

peers: .venv/installed  # Stable-Baselines3 and sb3-contrib, for comparisons
	$(BIN)/python -m pip install --quiet --no-input --constraint constraints.txt --editable ".[peers]"

peers-jax: .venv/installed  # JAX, for the benchmark
	$(BIN)/python -m pip install --quiet --no-input --constraint constraints.txt --editable ".[peers-jax]"

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'lfcs needs Python 3.11 or newer')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-input --constraint constraints.txt --editable ".[atari,plots,video,dev]"
	touch $@

clean-cache:  # what is compiled, after a change of functions that others call: callers do not notice
	find lfcs agents envs tests \( -name "*.nbi" -o -name "*.nbc" \) -delete

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
