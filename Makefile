# Everything below makes and uses .venv; the only needs are Python 3.11 or newer and make.
PYTHON ?= python3
ENV ?= cartpole
BIN := .venv/bin

.PHONY: run test install peers bench bench-quick clean

run: .venv/installed
	$(BIN)/python -m lfcs.study.first_run $(ENV)

test: .venv/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

bench: .venv/installed
	$(BIN)/lfcs bench --out experiments/results/benchmark.json

bench-quick: .venv/installed
	$(BIN)/lfcs bench --quick

install: .venv/installed

peers: .venv/installed  # Stable-Baselines3 and sb3-contrib, for comparisons
	$(BIN)/python -m pip install --quiet --no-input --constraint constraints.txt --editable ".[peers]"

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'lfcs needs Python 3.11 or newer')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-input --constraint constraints.txt --editable ".[atari,plots,dev]"
	touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
