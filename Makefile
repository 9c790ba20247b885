PYTHON ?= python3
BIN := .venv/bin
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help install install-dev run test check fix fuzz spec coverage lock

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/.runtime ## make .venv with what the server needs

install-dev: .venv/.dev ## make .venv with what the tests need too

.venv/.runtime: requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.runtime
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

run: install ## serve the embedded backend on http://127.0.0.1:8081
	@$(BIN)/python -m app

test: install-dev ## run every test that needs no browser
	@$(BIN)/python -m pytest -n auto --dist loadgroup $(TESTS)

check: install-dev ## lint, types, import rules, the OpenAPI document
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fix: install-dev ## format, and mend what the linter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

spec: install ## print the OpenAPI document
	@$(BIN)/python -m app spec

lock: install-dev ## resolve the lock files anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --upgrade \
		-o requirements.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --upgrade -c requirements.lock \
		--group dev -o requirements-dev.lock pyproject.toml
