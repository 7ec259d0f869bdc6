# Image generation on Airflow and Beam. `make help` says what there is to do.

VENV := .venv
PY := $(VENV)/bin/python
STATE := .state
FAULTS_SHARE := 1
CLOUD := $(PY) -m localcloud
# sqlite, which needs nothing but Python; or composer, as Composer has it.
AIRFLOW := sqlite
FOR_AIRFLOW := install $(if $(filter composer,$(AIRFLOW)),install-composer)
ifeq ($(filter sqlite composer,$(AIRFLOW)),)
$(error AIRFLOW=$(AIRFLOW) is neither sqlite nor composer)
endif
RUN_AIRFLOW := $(PY) -m localcloud.airflow --state $(STATE)/localcloud
UV := 0.13.9
CHECKOV := 3.3.30
CYCLONEDX := 7.5.0
# As in beam_jobs/Dockerfile.
IMAGE_PYTHON := 3.11.15
PIP_AUDIT := 2.10.1

# The first of these that is supported; a name on PATH may be a shim without a Python. 3.11 comes first
# because the jobs' image has it, and a launch from here pickles for that image.
IS_SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c '$(IS_SUPPORTED)' 2>/dev/null && echo $$p && break; done)

# Where this is set, as in many container images, every process compiles all that it imports anew:
# a tenth of the demo's CPU, a sixth of that of tests which start many processes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install install-composer demo test test-quick test-one test-full test-faults findings lint lint-terraform audit format bench docs up down publish watch images lock clean

help: ## Say what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## Install everything into .venv

$(VENV)/.installed: requirements.txt requirements-dev.txt constraints.txt beam_jobs/requirements.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12, or 3.13 on PATH; install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c '$(IS_SUPPORTED)' || { echo "error: PYTHON=$(PYTHON) is not Python 3.11, 3.12, or 3.13; name one that is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing into $(VENV) (about a minute the first time)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV)
	@$(VENV)/bin/uv pip install --quiet --python $(PY) -r requirements-dev.txt -c constraints.txt
	@touch $@

# Beside .venv, not in it, so that the Airflow that most people run has no package that it does not need.
install-composer: .venv-composer/.installed ## Install what AIRFLOW=composer needs beside that

.venv-composer/.installed: constraints-composer.txt $(VENV)/.installed
	@rm -rf .venv-composer
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --target .venv-composer --no-deps -r constraints-composer.txt
	@touch $@

demo: $(FOR_AIRFLOW) ## Show the whole way on this machine: prompts in, images out, run by Airflow
	@$(PY) -m localcloud.demo --state $(STATE)/demo --shape $(AIRFLOW)

# All processes of a run read every test. The first time, each would also compile all that it imports:
# a minute of CPU for each, so one does it before them. A test that can't be read fails in the run itself.
$(VENV)/.compiled: $(VENV)/.installed
	@$(PY) -m pytest -q --collect-only > /dev/null || true
	@touch $@

# Three processes: the longest tests have an Airflow each, which costs CPU for as long as it runs.
test: $(FOR_AIRFLOW) $(VENV)/.compiled ## Run the tests
	@TESTS_AIRFLOW=$(AIRFLOW) $(PY) -m pytest -q -n 3 --no-loadscope-reorder -m "not full" $(ARGS)

# Two processes: these tests wait for little, and each process more reads all of them once more.
test-quick: $(VENV)/.compiled ## Run the tests that take little time
	@$(PY) -m pytest -q -n 2 -m "not slow and not full" $(ARGS)

test-one: install ## Run one test file, or one test: make test-one T=tests/…/test_parse.py::test_…
	@test -n "$(T)" || { echo "error: say which test: make test-one T=tests/beam_jobs/prompts/test_parse.py" >&2; exit 1; }
	@$(PY) -m pytest -q "$(T)" $(ARGS)

# Everything: what is about scale, and all faults at full size, which takes more than an hour.
test-full: $(FOR_AIRFLOW) $(VENV)/.compiled ## Run all tests, at full size
	@TESTS_AIRFLOW=$(AIRFLOW) $(PY) -m pytest -q -n 3 --no-loadscope-reorder --ignore=tests/faults $(ARGS)
	@$(MAKE) test-faults

# FAULTS_SHARE=0.1 is a tenth of the full size, 8 minutes on two cores; `make test` runs a fiftieth of
# some. Run it again and the table has the figures of all runs since `make clean`, by seed.
test-faults: install ## Break everything on purpose, and write docs/faults.md
	@FAULTS_SHARE=$(FAULTS_SHARE) FAULTS_TABLE=$(STATE)/faults $(PY) -m pytest -q -n 2 tests/faults $(ARGS)
	@$(PY) -m tests.faults.table $(STATE)/faults docs/faults.md

findings: ## Show that what findings/ says of outside libraries still holds
	@for script in findings/*.sh; do \
		test "$$script" = findings/lib.sh || { echo "$$script"; bash "$$script" || exit 1; }; done

lint: install ## Check style and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy beam_jobs custom localcloud verification plugins/imagen_plugin.py plugins/imagen_ops dags/*.py
	@PYTHONPATH=plugins $(VENV)/bin/lint-imports --no-cache --no-logo

# checkov's own requirements do not go with Airflow's, so it has an environment to itself. A file that
# it cannot read is, for it, one without faults.
lint-terraform: install ## Check the Terraform files and the image for style and security
	@if command -v terraform > /dev/null; then terraform fmt -check -diff composer.tf monitoring.tf; \
		else echo "terraform is not on PATH: its style is not checked" >&2; fi
	@said=$$($(VENV)/bin/uv tool run --quiet --from checkov==$(CHECKOV) checkov --file composer.tf monitoring.tf beam_jobs/Dockerfile \
		--framework terraform dockerfile --skip-download --quiet --compact); found=$$?; echo "$$said"; \
		case "$$said" in *"Parsing errors"*) exit 1 ;; *"Passed checks"*) exit $$found ;; *) exit 1 ;; esac

# pip-audit asks PyPI and needs nothing of ours but the names and versions. Strict, or packages that
# PyPI could not be asked about would pass. It fails alike for a finding and for a PyPI that cannot be
# asked, as behind a mirror that has packages only. Then nothing is known, and that is said.
audit: install ## Look for known vulnerabilities in the installed packages and the image's
	@mkdir -p $(STATE)
	@$(VENV)/bin/uv pip freeze --quiet --python $(PY) > $(STATE)/installed.txt
	@for list in $(STATE)/installed.txt constraints-composer.txt beam_jobs/requirements.lock; do \
		rm -f $(STATE)/audit.txt; \
		$(VENV)/bin/uv tool run --quiet pip-audit==$(PIP_AUDIT) --strict --no-deps --disable-pip -r $$list \
			--output $(STATE)/audit.txt && continue; \
		if [ -s $(STATE)/audit.txt ]; then cat $(STATE)/audit.txt; else \
			echo "error: $$list was not checked: PyPI did not say which vulnerabilities it knows of (see above)." \
				"This result is neither good nor bad. Run \`make audit\` where PyPI itself answers, not only a mirror of its files" >&2; fi; \
		exit 1; \
	done

format: install ## Put the code into its style
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: install ## Measure against what else people would run, and write docs/benchmarks.md
	@$(PY) -m bench $(ARGS)

docs: ## Draw the architecture picture again, with Graphviz
	@command -v dot > /dev/null || { echo "error: no \`dot\` on PATH; install Graphviz" >&2; exit 1; }
	@dot -Tsvg docs/architecture.dot -o docs/architecture.svg

up: $(FOR_AIRFLOW) ## Leave the stand-ins, Airflow and the streaming job running
	@$(CLOUD) --state $(STATE)/localcloud env > /dev/null 2>&1 || $(CLOUD) --state $(STATE)/localcloud up --detach
	@echo "Starting Airflow (about half a minute), unless it is running"
	@$(RUN_AIRFLOW) up --shape $(AIRFLOW)
	@echo "Starting the streaming job through its DAG"
	@$(RUN_AIRFLOW) trigger imagen_stream_start --wait
	@echo 'Up. Log in at the address above, or try: make publish PROMPT="A fox in the snow", make watch, make images, make down'

down: ## Stop Airflow, the streaming job and the stand-ins
	@echo "Stopping Airflow, the streaming job, and the stand-ins, if they are running (up to a quarter of a minute)"
	@test ! -x $(PY) || $(RUN_AIRFLOW) down
	@test ! -x $(PY) || $(CLOUD) --state $(STATE)/localcloud down

# Through the environment, as they were typed: make would take dollars for its own, the shell quotes.
export PROMPT FILE
publish: override PROMPT := $(value PROMPT)
publish: override FILE := $(value FILE)
publish: install ## Publish one prompt (PROMPT="…") or a file of them (FILE=…)
	@test -n "$$PROMPT$$FILE" || { echo 'error: say what to publish: make publish PROMPT="A fox in the snow", or FILE=prompts.csv' >&2; exit 1; }
	@$(CLOUD) --state $(STATE)/localcloud run $(PY) -m beam_jobs publish $(if $(FILE),--file "$$FILE","$$PROMPT")

watch: install ## Show predictions and dead letters as they come
	@$(CLOUD) --state $(STATE)/localcloud run $(PY) -m beam_jobs watch

images: install ## List the newest images
	@$(CLOUD) --state $(STATE)/localcloud run $(PY) -m beam_jobs images

# Names and versions say which packages they are. The tool adds where an index has them by default.
define WITHOUT_LINKS
import json, sys
parts = json.load(sys.stdin)
for part in parts["components"] + parts["metadata"]["tools"]["components"]:
    part.pop("externalReferences", None)
json.dump(parts, sys.stdout, indent=1)
endef
export WITHOUT_LINKS

# The names of the first file's packages, then the lines of the second whose package is none of them.
define NOT_IN_CONSTRAINTS
{ split($$1, part, /[[=]/) }
NR == FNR { known[part[1]]; next }
!(part[1] in known)
endef
export NOT_IN_CONSTRAINTS

# The image's own list has hashes, and no package but those for its Python. Of the list of parts, which
# people read, hashes would be nine tenths.
lock: install ## Resolve constraints.txt and the image's lock anew
	@{ echo "# Every package in the version that tests ran with; made by \`make lock\`, applied by \`make install\`."; \
		$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate requirements-dev.txt; } > constraints.txt.part
	@mv constraints.txt.part constraints.txt
	@{ echo "# What requirements-composer.txt needs beside constraints.txt, in the versions that tests ran with; made by \`make lock\`."; \
		$(VENV)/bin/uv pip compile --quiet --python-version $(IMAGE_PYTHON) --no-header --no-annotate --constraints constraints.txt \
			requirements-composer.txt requirements.txt | awk "$$NOT_IN_CONSTRAINTS" constraints.txt -; } > constraints-composer.txt.part
	@mv constraints-composer.txt.part constraints-composer.txt
	@$(VENV)/bin/uv pip compile --quiet --python-version $(IMAGE_PYTHON) --python-platform x86_64-manylinux_2_36 --generate-hashes \
		--no-annotate --custom-compile-command "make lock" --constraints constraints.txt \
		--output-file beam_jobs/requirements.lock beam_jobs/requirements.txt
	@grep --only-matching '^[^ #]*==[^ ;]*' beam_jobs/requirements.lock | \
		$(VENV)/bin/uv tool run --quiet --from cyclonedx-bom==$(CYCLONEDX) cyclonedx-py requirements \
		--output-reproducible - | $(PY) -c "$$WITHOUT_LINKS" > beam_jobs/sbom.json.part
	@mv beam_jobs/sbom.json.part beam_jobs/sbom.json

clean: down ## Remove what was installed and what was left running
	@rm -rf $(VENV) .venv-composer $(STATE) .pytest_cache .mypy_cache .ruff_cache .hypothesis
