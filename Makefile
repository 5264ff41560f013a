VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
PIP = $(BIN)/pip install --constraint constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install install-dev train test test-fast gates lint format bench sweep clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## create the environment and install what training needs

install-dev: $(DEV) ## and every option and the tools of tests and style beside it

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("train needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	@echo "installing torch and what else training needs into $(VENV), a few minutes the first time ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@touch $@

$(DEV): $(READY)
	@echo "installing every option and the tools of tests and style into $(VENV), a few minutes the first time ..."
	@$(PIP) --editable '.[dev]'
	@touch $@

train: $(READY) ## train an LSTM on synthetic sequences and show what it learned
	$(BIN)/train model=lstm data=synthetic_seq

test: $(DEV) ## every test, about a quarter of an hour on 2 cores
	$(BIN)/pytest -q -n 2

test-fast: $(DEV) ## the quick tests, about 3 minutes on 2 cores
	$(BIN)/pytest -q -n 2 -m "not slow"

gates: $(DEV) ## train every gate at full size and write the score table of the README
	$(BIN)/python -m tests.gates.run

lint: $(DEV) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV) ## mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) ## speed, as ratios measured in one interleaved run
	for script in $(notdir $(wildcard tests/bench/*.py)); do $(BIN)/python -m tests.bench.$${script%.py} || exit 1; done

sweep: $(READY) ## a demonstration: 18 runs and their leaderboard
	$(BIN)/train -m model=lstm,gru,rnn optimizer.lr=1e-3,1e-2 seed=0,1,2 epochs=5

clean: ## remove the environment and everything made by tools; runs stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
