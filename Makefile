# make setup | demo | test | test-slow | test-labgrid | lint | bench
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-slow test-labgrid lint bench clean

setup: $(READY)

$(READY): pyproject.toml scripts/setup.sh
	scripts/setup.sh $(VENV)
	touch $@

demo: setup
	$(BIN)/edge-ad demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p edge_ad
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -m "not slow" -n logical --maxprocesses 4 --dist loadfile

test-slow: setup
	$(BIN)/pytest -m slow

# labgrid overwrites pyserial with a fork of it, so it has an environment of its own.
LABGRID := .venv-labgrid

$(LABGRID)/.ready: pyproject.toml
	python3 -m venv $(LABGRID)
	$(LABGRID)/bin/pip install --quiet -e '.[labgrid]'
	$(LABGRID)/bin/pip install --quiet --force-reinstall --no-deps pyserial-labgrid
	touch $@

test-labgrid: setup $(LABGRID)/.ready
	EDGE_AD_LABGRID=$(LABGRID)/bin/python $(BIN)/pytest tests/rig/test_labgrid.py

bench: setup
	$(BIN)/python tests/bench/latency.py
	$(BIN)/python tests/bench/runtime.py
	$(BIN)/python tests/bench/boards.py
	$(BIN)/python tests/bench/peers.py
	$(BIN)/python tests/bench/scan_statistics.py
	$(BIN)/python tests/bench/starnet_corruptions.py
	$(BIN)/python tests/bench/starnet_corruptions.py --generated --n-fit 64 --n-test 64
	$(BIN)/python tests/bench/pruning.py boards --work work/pruning
	$(BIN)/python tests/bench/precision.py --work work/precision --case deep_pcb-tiny --target openvino-cpu --drift 0.02
	$(BIN)/python tests/bench/sweep.py --work work/sweep
	$(BIN)/python tests/bench/tspulse_series.py --budget 60 --work work/tspulse

clean:
	rm -rf $(VENV) build dist *.egg-info
