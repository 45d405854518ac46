# Everything runs in .venv, which the first verb makes: make demo, test, test-slow, test-gpu, docs, lint, clean
PYTHON ?= python3
BIN := .venv/bin
TYPES := .cache/types/earlyexit_superb

.PHONY: demo test test-slow test-gpu docs lint clean
demo: .venv/ready
	$(BIN)/python run_benchmark.py --upstream daisy --task se --rho 0.7

# two processes of one thread each: two of two threads would wait for each other
test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: .venv/ready
	$(BIN)/python -m pytest -q -m slow

# skipped where there is no GPU
test-gpu: .venv/ready
	$(BIN)/python -m pytest -q -m gpu

# every command of README.md and docs/, on small built-in corpora
docs: .venv/ready
	$(BIN)/python -m pytest -q -m docs tests/test_docs.py

lint: .venv/ready
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	mkdir -p $(TYPES)
	for room in upstreams downstreams tasks benchmark; do ln -sfn "$(CURDIR)/$$room" $(TYPES)/$$room; done
	for file in __init__.py py.typed; do ln -sf "$(CURDIR)/benchmark/public/$$file" $(TYPES)/$$file; done
	$(BIN)/python -m mypy $(TYPES)

clean:
	rm -rf .venv .cache build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

# bytecode is made of what is imported, when it is: that of all packages takes a minute
export PYTHONDONTWRITEBYTECODE :=
.venv/ready: setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or later is needed, $(PYTHON) is older; name another one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 3; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --no-compile -c constraints.txt "setuptools<82" wheel
	$(BIN)/python -m pip install -q --no-compile -c constraints.txt -e ".[all,test,lint]"
	@touch $@
