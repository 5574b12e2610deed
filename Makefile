# Everything works on a fresh machine with Python 3.11 and a package registry; it builds and uses .venv/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A file's tests share their machines, so a file goes to one worker.
PYTEST := $(BIN)/python -m pytest -rs -n auto --maxprocesses 4 --dist loadfile

.PHONY: setup run test check bench conformance fuzz image image-record soak lock clean format

# A folder of real evidence with an index; see docs/verification.md.
VECTORS ?= ../shared/vectors
# Seconds for each fuzz target.
SECONDS ?= 600

setup: $(VENV)/.done image

# Silent on standard output, which belongs to the program that `make run` runs.
$(VENV)/.done: requirements.lock pyproject.toml
	@echo "setting up .venv: a minute or two, this once" >&2
	@$(PYTHON) -m venv $(VENV)
	@# The lock names every package: resolving again would let a newer release than the pinned one in.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

image: $(VENV)/.done
	@$(BIN)/python keep/build.py

image-record: $(VENV)/.done
	$(BIN)/python keep/build.py --record

run: setup
	@$(BIN)/wasmkeep run --simulated examples/add.wat -- 3 4

test: setup
	$(BIN)/python keep/build.py --test
	$(PYTEST) --cov --cov-report=term:skip-covered

soak: setup
	WASMKEEP_SOAK=1 $(BIN)/python keep/build.py --test
	WASMKEEP_SOAK=1 $(PYTEST)

conformance: $(VENV)/.done
	@$(BIN)/python -m tests.vectors_conformance $(VECTORS)

fuzz: $(VENV)/.done
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ONLY)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m ziglang fmt --check keep

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m ziglang fmt keep

bench: setup
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

lock:
	$(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet "uv>=0.13,<0.14"
	build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --extra dev --extra emulator -o requirements.lock pyproject.toml

clean:
	rm -rf build $(VENV) keep/.zig-cache src/wasmkeep/image/*.elf
