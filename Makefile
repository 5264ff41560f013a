VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
DOCS := $(VENV)/.installed-docs
CONSTRAINTS ?= constraints.txt
PIP = $(BIN)/pip install --constraint $(CONSTRAINTS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install install-dev train test test-fast test-gpu gates exports predictions lint format docs bench bench-gpu sweep clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## create the environment with the packages that training needs
	@echo "next: source $(BIN)/activate, then: train model=lstm data=synthetic_seq"

install-dev: $(DEV) ## add every optional package and the development tools

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit("train needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	@echo "installing torch and the other packages for training into $(VENV), a few minutes the first time ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@touch $@

$(DEV): $(READY)
	@echo "installing optional packages and development tools into $(VENV), a few minutes the first time ..."
	@$(PIP) --editable '.[dev]'
	@touch $@

$(DOCS): $(READY)
	@echo "installing the documentation tools into $(VENV) ..."
	@$(PIP) --editable '.[docs]'
	@touch $@

train: $(READY) ## train an LSTM on synthetic sequences and show its scores
	$(BIN)/train model=lstm data=synthetic_seq

# One thread per process, and bytecode that the processes share: without it each of them compiles every module again.
test test-fast: export OMP_NUM_THREADS := 1
test test-fast: export PYTHONDONTWRITEBYTECODE :=

test: $(DEV) ## run all tests, about half an hour on 2 cores
	$(BIN)/pytest -q -n 2 --dist worksteal

test-fast: $(DEV) ## run the quick tests, about a minute and a half on 2 cores
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not slow"

test-gpu: $(DEV) ## run the tests that need a GPU, about 6 minutes
	CUBLAS_WORKSPACE_CONFIG=:4096:8 $(BIN)/pytest -q -rfE --durations=10 tests/gpu

gates: $(DEV) ## train every gate at full size and write docs/scores.md
	$(BIN)/python -m tests.gates.run
	for script in rare_class coverage finetuning; do $(BIN)/python -m tests.gates.$$script || exit 1; done

exports: $(DEV) ## export every model, check the files and write docs/exports.md
	$(BIN)/python -m tests.gates.export

predictions: $(DEV) ## predict with runs of every family, and score the files by scikit-learn
	$(BIN)/python -m tests.gates.predictions

lint: $(DEV) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV) ## fix lint and format automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS) ## build the documentation into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --clean

bench: $(DEV) ## measure speed, as ratios within one interleaved run
	for script in $(notdir $(wildcard tests/bench/*.py)); do $(BIN)/python -m tests.bench.$${script%.py} || exit 1; done

bench-gpu: $(DEV) ## measure speed and memory on a GPU, into outputs/bench-gpu.json
	$(BIN)/python -m tests.bench.gpu --output outputs/bench-gpu.json

sweep: $(READY) ## demonstrate a sweep: 18 runs and their leaderboard
	$(BIN)/train -m model=lstm,gru,rnn optimizer.lr=1e-3,1e-2 seed=0,1,2 epochs=5

clean: ## remove the environment and all generated files except runs
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
