# `make demo` and `make test` need Python 3.11 or newer and nothing else: they create .venv and install the pinned versions there.
PYTHON ?= python3
VENV ?= .venv
# The CPU build of torch is taken where the package index has one; TORCH=default takes what it offers first, TORCH_OPTIONS is given to pip.
TORCH ?= cpu
TORCH_OPTIONS ?=
# What runs with the package, torch apart, is installed with its hashes checked (requirements-hashed.txt).
# Other versions: CONSTRAINTS=constraints-oldest.txt VENV=.venv-oldest EXTRAS=galpy,gala,orbits,test TORCH=default
CONSTRAINTS ?= constraints.txt
EXTRAS ?= dev
OUT ?= demo

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH_PIN := $(shell sed -n 's/^torch==//p' $(CONSTRAINTS))

.PHONY: demo test test-tutorials test-oldest test-slow lint types contracts docs check hashes install clean

demo: $(STAMP)
	$(BIN)/deeppot demo --out $(OUT) --resume

# One BLAS thread, as in the processes that the kill tests start: the number of threads changes the last bits of sums, which they compare.
test test-slow test-tutorials: export OMP_NUM_THREADS = 1
test test-slow test-tutorials: export OPENBLAS_NUM_THREADS = 1
# Files of tests go to two processes; what times itself is slow and runs alone.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not tutorial and not gpu"

test-tutorials: $(STAMP)
	$(BIN)/python -m pytest -m tutorial

# The oldest supported versions; torch of that age has no separate CPU build on every index, so that this downloads a few GB.
test-oldest:
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt EXTRAS=galpy,gala,orbits,test TORCH=default

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

check: test test-tutorials lint types contracts docs

install: $(STAMP)

# The hashes of every file of the runtime dependencies but torch, at the pinned versions; uv is needed.
hashes:
	sed -n '/^#/p' requirements-hashed.txt > .hashes.partial
	uv pip compile --quiet --generate-hashes --python-version 3.11 --constraints constraints.txt --extra galpy --extra gala --extra orbits \
		--no-annotate --no-header pyproject.toml --output-file .hashes.new
	awk '/^[A-Za-z]/ {keep = $$0 !~ /^(torch==|nvidia-|cuda-|triton|setuptools)/} keep && !/^#/' .hashes.new >> .hashes.partial
	mv .hashes.partial requirements-hashed.txt
	rm .hashes.new

$(STAMP): pyproject.toml $(CONSTRAINTS) requirements-hashed.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)
ifeq ($(TORCH),cpu)
	$(BIN)/pip install -q --only-binary :all: "torch==$(TORCH_PIN)+cpu" -c $(CONSTRAINTS) $(TORCH_OPTIONS) 2>/dev/null \
	|| $(BIN)/pip install -q --only-binary :all: "torch==$(TORCH_PIN)" -c $(CONSTRAINTS) $(TORCH_OPTIONS)
endif
ifeq ($(CONSTRAINTS),constraints.txt)
	$(BIN)/pip install -q --require-hashes --no-deps -r requirements-hashed.txt
endif
	$(BIN)/pip install -q -c $(CONSTRAINTS) hatchling editables
	$(BIN)/pip install -q -c $(CONSTRAINTS) --no-build-isolation -e ".[$(EXTRAS)]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
