PYTHON ?= python3
TESTS ?= tests
BENCH ?=
SCREENSHOTS ?=
FUZZ_EXAMPLES ?= 200
CRASHES ?= 200

BIN := .venv/bin
AGUI_CLIENT := tests/e2e/agui_client/node_modules
OPENCODE := tests/e2e/opencode/node_modules
THIRD_PARTY := $(AGUI_CLIENT) .venv/acp-sdk
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile
PYTEST := $(BIN)/python -m pytest -n auto --dist loadgroup
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --no-header --no-annotate
REDOCLY := REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true $(BIN)/npx --yes @redocly/cli@2.77.0

.DEFAULT_GOAL := help
.NOTPARALLEL: # all targets share one .venv
.PHONY: help install install-dev run test test-slow test-browser check fix fuzz crash bench coverage spec lock

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/.runtime ## create .venv with the server's dependencies

install-dev: .venv/.dev ## create .venv with the development dependencies too

run: install ## serve the embedded backend on http://127.0.0.1:8081 and print the next steps
	@$(BIN)/python -m app serve --demo-key

test: install-dev $(THIRD_PARTY) ## run every test but the slow ones and those in a browser; TESTS=path runs some
	@$(PYTEST) -m "not slow" $(TESTS)

test-slow: install-dev $(OPENCODE) ## run what make test leaves out: opencode (176 MB from npm), an installed wheel, the benchmarks' own tests
	@$(PYTEST) -m slow tests

test-browser: install-dev .venv/axe ## test the console in Chromium, which apt installs if it is missing
	$(call apt-install,chromium)
	@SCREENSHOTS="$(SCREENSHOTS)" $(BIN)/python -m pytest tests/browser

check: install-dev ## check style, types, import rules, dependencies and the OpenAPI document; change nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry app handlers
	@$(BIN)/python -m app spec > .venv/openapi.yaml
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(REDOCLY) lint .venv/openapi.yaml

fix: install-dev ## format the code and fix what the linter can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

fuzz: install-dev ## send FUZZ_EXAMPLES (200) new requests to each operation of each backend
	@FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PYTEST) --timeout 0 tests/contract/test_fuzz.py

crash: install-dev ## kill a busy server CRASHES (200) times and check that nothing acknowledged is lost
	@CRASHES=$(CRASHES) $(BIN)/python -m pytest tests/e2e/test_crashes.py

bench: install-dev ## run the benchmarks, with wrk, which apt installs if it is missing; BENCH=small runs a part
	$(call apt-install,wrk)
	@$(BIN)/python -m tests.bench $(BENCH)

coverage: install-dev $(THIRD_PARTY) ## run the tests of make test and fail below the coverage limit in pyproject.toml
	@$(PYTEST) -m "not slow" --cov --cov-report term --cov-report html tests

spec: install ## print the OpenAPI document
	@$(BIN)/python -m app spec

lock: install-dev ## resolve the lock files from pyproject.toml again
	@$(UV_COMPILE) --upgrade --extra otel -o requirements.lock pyproject.toml
	@$(UV_COMPILE) --upgrade --extra otel -c requirements.lock --group dev -o requirements-dev.lock pyproject.toml

# A stamp is touched last. Until then .venv/.unfinished has the process id of the make at work; an unfinished .venv is
# created again.

.venv/.runtime: requirements.lock
	$(make-venv)
	@$(PIP_INSTALL) -r requirements.lock
	@rm .venv/.unfinished && touch $@

.venv/.dev: requirements-dev.lock
	$(make-venv)
	@$(PIP_INSTALL) -r requirements-dev.lock
	@rm .venv/.unfinished && touch .venv/.runtime $@

$(AGUI_CLIENT) $(OPENCODE): %/node_modules: %/package-lock.json
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm ci --prefix $* --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# Only the SDK's source distribution has its examples.
.venv/acp-sdk: .venv/.dev
	@rm -rf $@ $@.part && mkdir -p $@.part
	@version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("agent-client-protocol"))') && \
		$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary agent-client-protocol \
			--dest $@.part "agent-client-protocol==$$version"
	@tar -xzf $@.part/*.tar.gz -C $@.part --strip-components 1 && mv $@.part $@ && touch $@

.venv/axe: .venv/.dev
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm install --silent --no-save --prefix $@ axe-core@4.14.1
	@touch $@

define apt-install
@test -x /usr/bin/$(1) || { SUDO=$$(test "$$(id -u)" = 0 || echo sudo); \
	$$SUDO apt-get update --quiet=2 && $$SUDO apt-get install --yes --quiet=2 --no-install-recommends $(1); }
endef

define make-venv
@if kill -0 "$$(cat .venv/.unfinished 2>/dev/null)" 2>/dev/null; then \
	echo "another make is installing into .venv; let it finish, or remove .venv" >&2; exit 1; fi
@test ! -e .venv/.unfinished && $(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	$(PYTHON) -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 11)' 2>/dev/null || { \
		echo "$(PYTHON) must be Python 3.11 or newer with venv and ensurepip; name another: make PYTHON=python3.12" >&2; \
		exit 1; }; \
	$(PYTHON) -m venv --clear .venv; }
@echo $$PPID > .venv/.unfinished
@echo "installing into .venv" >&2
endef
