# One entry point: `make demo`, `make test`, `make check`. Everything needed is set up on first use.
VENV := .venv
PY := $(VENV)/bin/python
BUNDLED = $(shell ls $$(python3 -c 'import ensurepip as e; print(getattr(e, "_WHEEL_PKG_DIR", None) or e.__path__[0] + "/_bundled")')/pip-*.whl)
QUIETLY := --quiet --disable-pip-version-check
PROGRAM := $(VENV)/.program
STAMP := $(VENV)/.installed
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
# Not by number of tests: files with one long test would come last, and one worker wait for them.
BY_FILE := --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := check
.PHONY: demo demo-prometheus test test-demo test-replicas check format types lint imports deps lock docs release prove bench bench-short clean tools

# Only what the program runs with, and no pip: half the time to the demo's first page.
$(PROGRAM): requirements/run.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	@python3 -c 'import ensurepip' 2>/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy python3-venv; }
	python3 -m venv --without-pip $(VENV)
	$(PY) $(BUNDLED)/pip install $(QUIETLY) --no-deps --no-compile --require-hashes --only-binary :all: -r requirements/run.txt
	@echo "$(CURDIR)" > $$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/chatbot-exporter.pth
	@printf '#!/bin/sh\nexec "$(CURDIR)/$(PY)" -m exporter "$$@"\n' > $(VENV)/bin/chatbot-exporter
	@chmod +x $(VENV)/bin/chatbot-exporter
	@touch $@

$(STAMP): $(PROGRAM) requirements/dev.txt pyproject.toml
	@rm -f $(VENV)/lib/python3*/site-packages/chatbot-exporter.pth
	$(PY) -m ensurepip >/dev/null
	$(PY) -m pip install $(QUIETLY) --require-hashes -r requirements/dev.txt
	$(PY) -m pip install $(QUIETLY) --no-deps --no-build-isolation -e .
	@touch $@

demo: $(PROGRAM)  ## all simulators and the exporter on them; no key, no network
	$(PY) -m exporter demo

demo-prometheus: $(PROGRAM)  ## the demo with five weeks of history in an installed Prometheus
	PYTHON=$(PY) scripts/demo-prometheus

test: $(STAMP) tools  ## the quick tests with branch coverage, then those of the whole
	$(PY) -m compileall -q exporter  # once, not at each of the many starts of the program
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest -n 2 $(BY_FILE) -m "not slow" tests
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report
	$(PY) -m pytest -n 3 $(BY_FILE) -m slow tests  # one more than cores: they wait for processes

check: lint types imports deps  ## format, lint, types, imports, dependencies, spelling

lint: $(STAMP)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(VENV)/bin/codespell exporter tests docs README.md CONTRIBUTING.md changelog.d

types: $(STAMP)
	$(PY) -m mypy

imports: $(STAMP)
	$(VENV)/bin/lint-imports

deps: $(STAMP)
	$(VENV)/bin/deptry .

format: $(STAMP)
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

test-demo: $(STAMP) tools  ## every panel of the demo's boards has data within a minute
	DEMO=1 $(PY) -m pytest -n 0 -s tests/dashboards/test_demo_prometheus.py

test-replicas: $(STAMP) tools  ## an hour of exporters on one PostgreSQL, and what goes wrong by SEED
	REPLICAS=1 MINUTES=$${MINUTES:-60} $(PY) -m pytest -n 0 -s --timeout 0 tests/replicas -k "failover or mix"

bench: $(STAMP)  ## everything that is fast, beside its peers: a table, and artifacts/bench.json
	$(PY) -m tests.benchmarks

bench-short: $(STAMP)  ## the same, smaller: a few minutes
	$(PY) -m tests.benchmarks --short --json artifacts/bench-short.json

tools:  ## what the tests of the whole use: Prometheus, Alertmanager, PostgreSQL, systemd, a browser
	@missing=; for pair in promtool:prometheus amtool:prometheus-alertmanager \
	  pg_lsclusters:postgresql pgbouncer:pgbouncer \
	  systemd-analyze:systemd chromium:chromium npm:npm; do \
	  command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; done; \
	[ -z "$$missing" ] || { $(SUDO) apt-get update -q && \
	  $(SUDO) apt-get install -qy --no-install-recommends $$missing; } || { \
	  echo "cannot be installed, so the tests that need them are skipped:$$missing"; \
	  [ "$$CI" != true ]; }
	@[ -f node_modules/axe-core/axe.min.js ] || npm install --silent --no-save --no-audit axe-core@4.10.3 || { \
	  echo "axe-core cannot be installed: the accessibility check is skipped"; [ "$$CI" != true ]; }

lock: $(STAMP)  ## after a change of dependencies
	$(PY) -m uv pip compile pyproject.toml --group dev --all-extras --universal --generate-hashes -q -o requirements/dev.txt
	PATH=$(CURDIR)/$(VENV)/bin:$$PATH scripts/lock

docs: $(STAMP)  ## the documentation site, strict
	scripts/metrics-page
	scripts/configuration-page
	scripts/settings-schema
	$(VENV)/bin/mkdocs build

release: $(STAMP)  ## wheel, sdist, changelog, dashboards, chart, bill of materials
	scripts/release

prove: $(STAMP)  ## the steps of the image, as far as they can be taken without an engine
	scripts/prove-image

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
