# Every target sets up what it needs, from nothing but Python 3.11+ and make.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
PRESET ?= auto

# Serving stays light, development also has torch, and other people's clients constrain neither.
SERVE := .venv
DEV := .venv-dev
CLIENTS := .venv-conformance
FRAMEWORKS := .venv-frameworks
AUTOGEN := .venv-autogen

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: docs help serve test test-slow test-docs soak fuzz conformance check format lock bench train clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo
	@echo 'Variables: PYTHON=$(PYTHON) HOST=$(HOST) PORT=$(PORT) MODEL=<checkpoint> ARGS=<further arguments>'

serve: $(SERVE)/.installed ## serve the shipped checkpoint, or MODEL=, on HOST:PORT
	@exec $(SERVE)/bin/python -m service serve --host $(HOST) --port $(PORT) $(if $(MODEL),--model '$(MODEL)') $(ARGS)

# What kills processes, overloads a server or times clicks wants the machine to itself.
ALONE := tests/reliability tests/browser/test_speed.py
test: $(DEV)/.installed ## run the quick tests (ARGS= for pytest)
	$(DEV)/bin/python -m pytest --numprocesses auto --dist loadfile $(if $(ARGS),$(ARGS),$(addprefix --ignore ,$(ALONE)))
	$(if $(ARGS),,$(DEV)/bin/python -m pytest $(ALONE))

test-slow: $(DEV)/.installed ## run the tests marked slow
	$(DEV)/bin/python -m pytest -m slow $(ARGS)

test-docs: $(DEV)/.installed ## run every command of README and docs, in small
	$(DEV)/bin/python -m pytest --numprocesses auto -m 'slow or not slow' tests/test_docs_run.py $(ARGS)

soak: $(DEV)/.installed ## mixed work and bad clients for half an hour; figures of memory and answers (ARGS=--seconds 600)
	$(DEV)/bin/python -m tests.reliability.soak $(ARGS)

fuzz: $(DEV)/.installed ## a million damaged inputs at every reader of foreign bytes (ARGS=--seed 1)
	$(DEV)/bin/python -m tests.reliability.fuzz $(ARGS)

conformance: $(SERVE)/.installed $(DEV)/.installed $(CLIENTS)/.installed $(FRAMEWORKS)/.installed $(AUTOGEN)/.installed ## prove the API with other people's clients (MODEL= to choose)
	CONFORMANCE_MODEL='$(MODEL)' CONFORMANCE_SERVER_PYTHON='$(SERVE)/bin/python' \
	CONFORMANCE_TRAINING_PYTHON='$(DEV)/bin/python' \
	CONFORMANCE_FRAMEWORKS_PYTHON='$(FRAMEWORKS)/bin/python' \
	CONFORMANCE_AUTOGEN_PYTHON='$(AUTOGEN)/bin/python' \
	$(CLIENTS)/bin/python -m pytest -c tests/conformance/pytest.toml tests/conformance $(ARGS)

check: $(DEV)/.installed ## lint, format, types, import rules, dependencies and their known faults, container files
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports --no-logo
	$(DEV)/bin/deptry .
	$(DEV)/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml deploy/compose.secrets.yml
	@if [ -x $(DEV)/bin/hadolint ]; then echo '$(DEV)/bin/hadolint Dockerfile' && $(DEV)/bin/hadolint Dockerfile; \
	else echo 'hadolint is not built for this platform: Dockerfile not checked'; fi
	$(DEV)/bin/python -m tests.audit

format: $(DEV)/.installed ## mend what ruff can mend
	$(DEV)/bin/ruff check --fix-only .
	$(DEV)/bin/ruff format .

lock: $(DEV)/.installed ## choose the image's dependencies anew, with the hashes of their files
	$(DEV)/bin/python -m uv pip compile pyproject.toml deploy/build.in --extra guided --extra otel \
	--upgrade --generate-hashes --no-emit-index-url --only-binary :all: --python-version 3.13 \
	--python-platform x86_64-manylinux_2_40 --custom-compile-command 'make lock' --quiet \
	--output-file deploy/requirements.lock

docs: $(DEV)/.installed ## build the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(DEV)/bin/mkdocs build --strict --quiet
	@echo 'read it: build/site/index.html'

bench: $(DEV)/.installed ## run every benchmark, or BENCH=engine alone; each ends in one JSON line
	$(DEV)/bin/python -m benchmarks$(if $(BENCH),.$(BENCH)) $(ARGS)

train: $(DEV)/.installed ## train on your text: CORPUS=train.txt OUT=runs/mine [VALID=valid.txt] [PRESET=auto]
	@if [ -z '$(CORPUS)' ] || [ -z '$(OUT)' ]; then \
		echo 'usage: make train CORPUS=train.txt OUT=runs/mine [VALID=valid.txt] [PRESET=$(PRESET)] [ARGS=...]' >&2; exit 2; fi
	@exec $(DEV)/bin/python -m training train --corpus $(CORPUS) $(if $(VALID),--valid $(VALID)) --out '$(OUT)' --preset $(PRESET) $(ARGS)

clean: ## remove environments, builds and caches (runs/ stays)
	rm -rf $(SERVE) $(DEV) $(CLIENTS) $(FRAMEWORKS) $(AUTOGEN) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written after a whole installation, so that one cut short is done again.
%/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Python 3.11 or newer is needed; name it with: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo '$(PYTHON) cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv --clear $*
	@touch $@

$(SERVE)/.installed: pyproject.toml | $(SERVE)/.created
	@echo 'Installing what serving needs (no torch) into $(SERVE), once:'
	$(SERVE)/bin/python -m pip install --disable-pip-version-check --editable '.[guided]'
	@touch $@

# torch in a step of its own: left to the dependencies' resolution, an unpinned one may bring
# gigabytes of CUDA packages. Where pip would still choose a CUDA build, point PIP_EXTRA_INDEX_URL
# at an index of CPU builds.
$(DEV)/.torch: | $(DEV)/.created
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@touch $@

$(DEV)/.installed: pyproject.toml $(DEV)/.torch
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[train,test,check,docs,guided,otel]'
	@for package in '--no-deps pyctcdecode==0.5.0' pygtrie flashlight-text kenlm sherpa-onnx; do \
		$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check $$package \
		|| echo "no $$package here (it may need a C++ compiler and CMake): its tests will be skipped"; done
	@touch $@

# Of other people's clients those that cannot be installed are skipped, and the run says so.
INSTALL = python -m pip install --quiet --disable-pip-version-check --requirement

$(CLIENTS)/.installed: tests/conformance/requirements.txt tests/conformance/requirements-lm-eval.txt | $(CLIENTS)/.created
	$(CLIENTS)/bin/$(INSTALL) $<
	$(CLIENTS)/bin/$(INSTALL) $(word 2,$^) || echo 'lm-eval cannot be installed: its checks will be skipped'
	@touch $@

$(FRAMEWORKS)/.installed: tests/conformance/requirements-frameworks.txt | $(FRAMEWORKS)/.created
	$(FRAMEWORKS)/bin/$(INSTALL) $< || echo 'These cannot be installed: their checks will be skipped'
	@touch $@

$(AUTOGEN)/.installed: tests/conformance/requirements-autogen.txt | $(AUTOGEN)/.created
	$(AUTOGEN)/bin/$(INSTALL) $< || echo 'autogen cannot be installed: its check will be skipped'
	@touch $@
