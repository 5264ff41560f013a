VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install train test test-fast gates lint format bench sweep clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## create the environment and install into it

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("train needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(READY) ## train an LSTM on synthetic sequences and show what it learned
	$(BIN)/train model=lstm data=synthetic_seq

test: $(READY) ## every test, at most 10 minutes on 2 cores
	$(BIN)/pytest -q -n 2

test-fast: $(READY) ## the quick tests, at most 90 seconds
	$(BIN)/pytest -q -n 2 -m "not slow"

gates: $(READY) ## train every gate at full size and write the score table of the README
	$(BIN)/python tests/gates.py

lint: $(READY) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## speed, as ratios measured in one interleaved run
	for script in tests/bench/*.py; do $(BIN)/python $$script || exit 1; done

sweep: $(READY) ## a demonstration: 18 runs and their leaderboard
	$(BIN)/train -m model=lstm,gru,rnn optimizer.lr=1e-3,1e-2 seed=0,1,2 epochs=5

clean: ## remove the environment and everything made by tools; runs stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
