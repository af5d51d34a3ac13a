# One Python environment in .venv, made from pinned and hashed requirements, serves every target below.

PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# One worker more than processors, since each also waits: for a browser, a timeout, a start. More than
# four would only wait for the one Postgres. Each begins with tests that share fixtures, and takes from others at the end.
PARALLEL := -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --maxprocesses=4 --dist worksteal
LOCK := pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --quiet \
	--no-annotate --no-header --no-emit-index-url

.PHONY: help run test unit e2e check reset lock

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "%-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/installed  ## start the app and an embedded Supabase; PORT=5001 changes the port
	@exec $(BIN)/python -m local_supabase run --die-with-parent --public-url http://localhost:$(PORT) \
		--hint "Sign in with the demo account, open Security and add an authenticator app." \
		-- $(BIN)/flask --app app run --port $(PORT)

test: .venv/installed  ## run everything that must pass, browser included
	@$(BIN)/python tests/browser/chromium.py
	$(PYTEST) $(PARALLEL)

unit: .venv/installed  ## run all but the browser tests
	$(PYTEST) $(PARALLEL) -m "not browser"

e2e: .venv/installed  ## run the browser tests
	@$(BIN)/python tests/browser/chromium.py
	$(PYTEST) $(PARALLEL) -m browser

check: .venv/installed  ## lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

reset: .venv/installed  ## delete the local data, keys and mails
	@$(BIN)/python -m local_supabase reset

lock:  ## write requirements*.txt anew from pyproject.toml; LOCK_WITH=--upgrade takes newer versions
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(PYTHON) -m venv "$$folder" && "$$folder/bin/pip" install --quiet --disable-pip-version-check uv && \
	"$$folder/bin/uv" $(LOCK) $(LOCK_WITH) -o requirements.txt && \
	"$$folder/bin/uv" $(LOCK) $(LOCK_WITH) --extra local --extra test -o requirements-dev.txt

.venv/installed: requirements-dev.txt
	@command -v $(PYTHON) >/dev/null || \
		{ echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11. Name a newer one: make PYTHON=python3.12 …"; exit 1; }
	@echo "Installing into .venv (the first time only) …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
