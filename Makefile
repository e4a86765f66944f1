# `make demo` and `make test` need Python 3.11 or newer and nothing else: they create .venv and install the pinned versions there.
PYTHON ?= python3
VENV ?= .venv
# The CPU build of torch is taken where the package index has one; TORCH=default takes what it offers first, TORCH_OPTIONS is given to pip.
TORCH ?= cpu
TORCH_OPTIONS ?=
OUT ?= demo

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH_PIN := $(shell sed -n 's/^torch==//p' constraints.txt)

.PHONY: demo test test-slow lint types contracts docs check install clean

demo: $(STAMP)
	$(BIN)/deeppot demo --out $(OUT) --resume

# One BLAS thread, as in the processes that the kill tests start: the number of threads changes the last bits of sums, which they compare.
test test-slow: export OMP_NUM_THREADS = 1
test test-slow: export OPENBLAS_NUM_THREADS = 1
test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m "slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

contracts: $(STAMP)
	$(BIN)/lint-imports --no-cache

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

check: test lint types contracts docs

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)
ifeq ($(TORCH),cpu)
	$(BIN)/pip install -q --only-binary :all: "torch==$(TORCH_PIN)+cpu" -c constraints.txt $(TORCH_OPTIONS) 2>/dev/null \
	|| $(BIN)/pip install -q --only-binary :all: "torch==$(TORCH_PIN)" -c constraints.txt $(TORCH_OPTIONS)
endif
	$(BIN)/pip install -q -c constraints.txt hatchling editables
	$(BIN)/pip install -q -c constraints.txt --no-build-isolation -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
