PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup fix check test test-all demo bench demo-base claims docs study-doctor study-judging study-frontier

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: .venv/.ready  ## a virtual environment with palate and its tools, made once

.venv/.ready: pyproject.toml scripts/install.sh
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "no virtual environment: on Debian, apt install python3-venv; or set PYTHON=" >&2; exit 1; }
	@sh scripts/install.sh $(BIN)/python && touch $@

fix: setup  ## format, and mend what can be mended
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

check: setup  ## format, lint and types
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

test: setup  ## the tests that take minutes
	$(BIN)/pytest -m "not slow and not gpu"

test-all: setup  ## every test, the long forms too
	$(BIN)/pytest

demo: setup  ## SFT, then DPO, on the embedded example
	$(BIN)/palate demo

bench: setup  ## palate against TRL: the same work, timed
	$(BIN)/python -m pip install --quiet --editable ".[bench]" && $(BIN)/python benchmarks/against_trl.py

docs: setup  ## what is written from the code: docs/objectives.md
	$(BIN)/python -m pip install --quiet --editable ".[bench]" && $(BIN)/python scripts/objectives_docs.py

claims: setup  ## what is said about SFT and DPO, measured: docs/claims.md
	$(BIN)/python scripts/claims.py

study-doctor: setup  ## what the doctor sees of planted defects, and what they do: docs/doctor.md
	$(BIN)/python -m pip install --quiet --editable ".[bench]" && $(BIN)/python scripts/study_doctor.py

study-judging: setup  ## true taste against the number of judgements: docs/judging.md
	$(BIN)/python -m pip install --quiet --editable ".[bench]" && $(BIN)/python scripts/study_judging.py

study-frontier: setup  ## DPO against PPO and what is cheaper than both: docs/dpo-or-rlhf.md
	$(BIN)/python -m pip install --quiet --editable ".[bench]" && $(BIN)/python scripts/study_frontier.py

demo-base: setup  ## train the demo's tiny base model again
	$(BIN)/python -m palate.demo.base
