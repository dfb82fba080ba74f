# Bare `make` lists the targets. Everything is set up inside this folder; see backbeat_ops/setup.py.

PYTHON ?= python3
PORT ?=
ONCE ?=
ROUNDS ?= 5
FUNCTION ?= process_media_upload
EVENT ?= events/$(FUNCTION)/typical.json
BIN = .venv/bin

# A command, a worker and a test's process are started often: what they import is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run dev shots django test proofs browser test-django month invoke invoke-all bench bench-cold bench-mail bench-killed bench-width bench-fairness bench-sweeps bench-django bench-media drawing checkov check format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Set up .venv and the local cloud's environment (the other targets do it by themselves)
	@$(PYTHON) backbeat_ops/setup.py

run: setup ## Start the local cloud, turn a photo into renditions, stay up (ONCE=1: exit after; PORT=4567)
	@$(BIN)/backbeat up --sample $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

dev: setup ## Keep the local cloud as your files are, and show what functions log (PORT=4567)
	@$(BIN)/backbeat dev $(if $(PORT),--port $(PORT))

django: setup ## The example's network in Django beside the local cloud, at http://127.0.0.1:8000 (PORT=4567)
	@$(BIN)/python examples/django/serve.py $(if $(PORT),--port $(PORT))

test-django: setup ## The bridge's tests with the oldest and the newest Django, on SQLite and PostgreSQL (needs uv)
	@for version in 4.2 6.1; do \
	  uv venv --quiet --allow-existing --python $(BIN)/python .backbeat/django-$$version && \
	  uv pip install --quiet --python .backbeat/django-$$version/bin/python --require-hashes -r requirements/dev.txt && \
	  uv pip install --quiet --python .backbeat/django-$$version/bin/python "django~=$$version.0" && \
	  uv pip install --quiet --python .backbeat/django-$$version/bin/python --no-deps --no-build-isolation --editable . && \
	  .backbeat/django-$$version/bin/python -m pytest tests/unit/bridge && \
	  .backbeat/django-$$version/bin/python tests/postgres.py pytest tests/unit/bridge || exit 1; \
	done

browser: setup ## Set up the browser that the tests of pages run in (needs npm; `make test` does it by itself)
	@$(BIN)/python tests/chromium.py

month: setup ## Play a month beside Django, and compare its rows with queries that know nothing of Backbeat (SEED=1)
	@PYTHONPATH=tests $(BIN)/python tests/month.py $(SEED)

test: browser ## Run the tests, on all cores; those of the local cloud and of the browser in three processes
	@$(BIN)/pytest --ignore tests/integration --ignore tests/browser -m "not proof" --numprocesses auto
	@$(BIN)/pytest tests/browser tests/integration -m "not proof" --numprocesses 3 --dist loadfile --no-loadscope-reorder

proofs: setup ## Run the tests that take minutes each: new tasks by the pages, in a copy of the project
	@$(BIN)/pytest -m proof -n0

shots: browser ## Take docs/console/*.webp, the pictures of the console's pages, anew
	@BACKBEAT_SHOTS=$(CURDIR)/.backbeat/shots $(BIN)/pytest tests/browser/test_console.py -n0
	@PYTHONPATH=tests $(BIN)/python tests/browser/shots.py .backbeat/shots docs/console

invoke: setup ## Run a function in Lambda's own image on the running local cloud (FUNCTION=, EVENT=); needs Docker
	@$(BIN)/backbeat invoke $(FUNCTION) $(EVENT)

invoke-all: setup ## The same for every event of every function
	@$(BIN)/backbeat invoke

NAMES ?=
bench: setup ## Run every benchmark beside its peers, write docs/benchmarks.md (needs git, uv, npm; NAMES="cold mail")
	@$(BIN)/backbeat up --detach $(if $(PORT),--port $(PORT)) > .backbeat/bench.log
	@$(BIN)/python tests/benchmarks/bench.py $(NAMES); done=$$?; $(BIN)/backbeat down --keep-data; exit $$done

bench-cold: setup ## Time cold starts beside those of commit 50f40b4, before layers were compiled (needs git; ROUNDS=5)
	@mkdir -p .backbeat/bench/before
	@git archive 50f40b4 | tar -x -C .backbeat/bench/before
	@$(BIN)/python -c 'from backbeat_ops import deployment; deployment.build(lambda line: None)'
	@parameters=$$($(BIN)/python -c 'from backbeat_ops import deployment; print(*deployment.parameters())') && \
	export PATH="$$($(BIN)/python -c 'import sys; print(sys.base_prefix)')/bin:$$PATH" SAM_CLI_TELEMETRY=0 && \
	cd .backbeat/bench/before && $(CURDIR)/$(BIN)/sam build --config-env local $$parameters > ../build.log 2>&1 || \
	  { cat $(CURDIR)/.backbeat/bench/build.log >&2; exit 1; }
	@$(BIN)/python tests/benchmarks/coldstart.py .backbeat/bench/before/.aws-sam/build $(ROUNDS)

bench-mail: setup ## Time welcome mails beside Celery's (needs uv; Redis if there is a redis-server; ROUNDS=5)
	@uv venv --quiet --allow-existing --python $(BIN)/python .backbeat/bench/celery
	@uv pip install --quiet --python .backbeat/bench/celery/bin/python --require-hashes -r tests/benchmarks/celery.txt
	@$(BIN)/python -c 'from backbeat_ops import deployment; deployment.build(lambda line: None)'
	@$(BIN)/python tests/benchmarks/mails.py $(ROUNDS)

bench-killed: setup ## Send 2,000 welcomes on the running local cloud while their workers are killed: nobody gets two
	@$(BIN)/python tests/benchmarks/killed.py

bench-width: setup ## Choose a week's digest out of a million posts
	@PYTHONPATH=$(subst $(eval ) ,:,tests $(wildcard functions/*)) $(BIN)/python tests/benchmarks/width.py

bench-fairness: setup ## Simulate what one member's thousand uploads do to everybody else's
	@$(BIN)/python tests/benchmarks/fairness.py

bench-sweeps: setup ## What the sweeps read and write at 1, 4 and 16 times the data, with the same changes
	@PYTHONPATH=$(subst $(eval ) ,:,tests $(wildcard functions/*)) $(BIN)/python tests/benchmarks/sweeps.py

drawing: setup ## Draw docs/architecture.svg anew, from the declarations and the template
	@PYTHONPATH=tests $(BIN)/python tests/drawing.py

bench-django: setup ## What the outbox and the import of the bridge to Django cost, on the running local cloud
	@$(BIN)/python tests/benchmarks/bridge.py

check: setup ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

COMPILE = uv pip compile --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 --quiet
lock: ## Pin the dependencies anew, with hashes (needs uv; UPGRADE=1 takes the newest)
	$(COMPILE) $(if $(UPGRADE),--upgrade) layers/shared/requirements.in -o layers/shared/requirements.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) layers/imaging/requirements.in -o layers/imaging/requirements.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml layers/shared/requirements.in layers/imaging/requirements.in \
	  --extra ops --group dev -o requirements/dev.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group emulator -o requirements/emulator.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group checkov -o requirements/checkov.txt

checkov: setup ## Look for what is unsafe in the template as it is deployed (needs uv)
	@uv venv --quiet --allow-existing --python $(BIN)/python .backbeat/checkov/venv
	@uv pip install --quiet --python .backbeat/checkov/venv/bin/python --require-hashes -r requirements/checkov.txt
	@AWS_DEFAULT_REGION=us-east-1 PYTHONPATH=tests $(BIN)/python tests/expanded.py > .backbeat/checkov/template.json
	@.backbeat/checkov/venv/bin/checkov --config-file .checkov.yaml --file .backbeat/checkov/template.json

bench-media: setup ## Time pictures beside naive Pillow, sharp and pyvips (needs uv and npm; ROUNDS=5)
	@uv venv --quiet --allow-existing --python $(BIN)/python .backbeat/bench/venv
	@uv pip install --quiet --python .backbeat/bench/venv/bin/python --require-hashes -r tests/benchmarks/requirements.txt
	@cp tests/benchmarks/package.json tests/benchmarks/package-lock.json .backbeat/bench/
	@npm ci --silent --prefix .backbeat/bench
	@BENCH_MODULES=$(CURDIR)/.backbeat/bench .backbeat/bench/venv/bin/python tests/benchmarks/media.py $(ROUNDS)

clean: ## Remove everything that was built or stored here, the local cloud's data included
	rm -rf .aws-sam .backbeat .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
