# Linewatch. On a fresh Debian or Ubuntu: `make demo` shows it working, `make test` proves it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
DEMO_VENV := .venv-demo
VENV := .venv
GST_VENV := .venv-gstreamer
# The tests start hundreds of processes: each would compile the modules anew.
unexport PYTHONDONTWRITEBYTECODE
ARGS ?=
BEGUN ?=
DATA ?= $(or $(LINEWATCH_DATA),../shared/data)

# The tests start these beside themselves: a broker, an RTSP server, a browser with fonts, the checker of Prometheus.
# They start systemd's verifier, an OpenCV with GStreamer, and Aravis with its fake GenICam camera. They need a compiler
# for stubs beneath TensorRT, and `ip` for networks that lead nowhere.
DEBIAN_PACKAGES := mosquitto mosquitto-clients debootstrap python3-opencv python3-numpy python3-venv python3-gi gir1.2-gst-rtsp-server-1.0 \
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly ffmpeg systemd openssl gcc libc6-dev iproute2 \
  chromium fonts-dejavu-core fonts-wqy-zenhei prometheus curl gir1.2-aravis-0.8 aravis-tools aravis-tools-cli \
  python3-cairo
# These must also hold with the oldest OpenCV that serves, Debian's.
OLDEST_OPENCV_TESTS := tests/edge/cameras tests/edge/inspection/test_measuring.py \
  tests/edge/preparing/test_preparing.py tests/edge/preparing/test_preparing_geometry.py \
  tests/edge/preparing/test_preparing_locating.py tests/edge/simulation/test_simulated_line.py
STATION_TESTS := tests/edge/station tests/edge/outbox tests/edge/outputs
ATTACK_TESTS := tests/hostile tests/browser
MODEL_TESTS := tests/trainer/models tests/converters/test_models.py
QUIET := -q -p no:cacheprovider
# Any device, from JetPack 6's Python on, x86_64 and aarch64; the versions that the tests use, but for NumPy's.
DEVICE_LOCK := -q --universal --python-version 3.10 --generate-hashes --no-header --no-annotate -c <(grep -v ^numpy requirements.lock)
APT := DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends

.PHONY: help demo test test-edge test-station test-attacks test-others test-trainer test-oldest test-models soak soak-docs soak-others check bench proof model model-glass model-glass-begun model-glass-read golden picture screenshots alarm-diagram results lock debian clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

demo: $(DEMO_VENV)/.installed ## the simulated line with the shipped model and a broker of its own (ARGS="--headless …")
	@$(DEMO_VENV)/bin/linewatch demo $(ARGS)

test: debian $(VENV)/.installed $(GST_VENV)/.installed ## all checks and tests, as continuous integration runs them
	@$(MAKE) --no-print-directory -j5 -Oline test-edge test-station test-attacks test-others test-trainer test-oldest test-models check

# Side by side, the longest first: each waits for processes as long as it computes.
test-edge:
	$(VENV)/bin/python -m pytest $(QUIET) -m "not gstreamer and not genicam and not soak" tests/edge $(STATION_TESTS:%=--ignore %)

# With Debian's OpenCV, which has GStreamer, and with its Aravis.
test-oldest:
	$(GST_VENV)/bin/python -m pytest $(QUIET) -m "not soak" $(OLDEST_OPENCV_TESTS)

test-station:
	$(VENV)/bin/python -m pytest $(QUIET) -m "not soak" $(STATION_TESTS)

test-attacks:
	$(VENV)/bin/python -m pytest $(QUIET) -m "not soak" $(ATTACK_TESTS)

test-trainer:
	$(VENV)/bin/python -m pytest $(QUIET) -m "not soak" tests/trainer --ignore tests/trainer/models

# One process: each family is taught once for both.
test-models:
	$(VENV)/bin/python -m pytest $(QUIET) -m "not soak" $(MODEL_TESTS)

test-others:
	$(VENV)/bin/python -m pytest $(QUIET) -m "not soak" --ignore tests/edge --ignore tests/trainer $(MODEL_TESTS:%=--ignore %) $(ATTACK_TESTS:%=--ignore %)

soak: debian $(VENV)/.installed $(GST_VENV)/.installed ## the tests that take minutes each: leaks, floods, long runs
	@$(MAKE) --no-print-directory -j2 -Oline soak-docs soak-others

# Pages that install and train.
soak-docs:
	$(VENV)/bin/python -m pytest $(QUIET) -m soak tests/docs

# Exit code 5: no test is marked in a part.
soak-others:
	$(GST_VENV)/bin/python -m pytest $(QUIET) -m soak $(OLDEST_OPENCV_TESTS) || [ $$? = 5 ]
	$(VENV)/bin/python -m pytest $(QUIET) -m "soak and not gstreamer and not genicam" --ignore tests/docs

check: $(VENV)/.installed ## ruff, mypy --strict, import-linter
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: debian $(VENV)/.installed ## the speed that is claimed: tables, and JSON under out/bench
	$(VENV)/bin/python benchmarks/run.py $(ARGS)
	$(VENV)/bin/python benchmarks/engines.py --data $(DATA)
	$(VENV)/bin/python -m benchmarks.good_parts
	$(VENV)/bin/python -m benchmarks.measuring --json out/bench/measuring.json
	$(VENV)/bin/python -m benchmarks.cameras --json out/bench/cameras.json
	$(VENV)/bin/python -m benchmarks.quality --data $(DATA) --json out/bench/quality.json
	$(VENV)/bin/python -m benchmarks.outputs --json out/bench/outputs.json
	$(VENV)/bin/python -m benchmarks.dashboard --json out/bench/dashboard.json
	$(VENV)/bin/python -m benchmarks.dashboard_cost --json out/bench/dashboard-cost.json
	$(VENV)/bin/python -m benchmarks.archives --json out/bench/archives.json
	$(VENV)/bin/python -m benchmarks.site --stations 50 --minutes 2 --json out/bench/site.json

proof: debian $(VENV)/.installed ## kill lines and brokers by the hundred, lose nothing, write docs/proof.md (ARGS="--only outage")
	$(VENV)/bin/python -m benchmarks.proof $(ARGS)

model: $(VENV)/.installed ## train, convert and ship the simulated station's model: all products, both views (25 minutes)
	rm -rf out/station-pictures out/simulated-station
	$(VENV)/bin/linewatch simulate --dataset out/station-pictures --frames 2000 --seed 1
	$(VENV)/bin/linewatch-train fit config/train.station.yaml --data out/station-pictures --out out/simulated-station
	$(VENV)/bin/convert out/simulated-station --to onnxruntime --precision fp16
	$(VENV)/bin/linewatch-train ship out/simulated-station --out edge/bundles/simulated-station

# Both parts. BEGUN: a bundle of the first part, as it was shipped; it is trained anew where none is given.
model-glass: $(VENV)/.installed ## the same for phone glass from above alone, in two parts, which is also met with real phones
	rm -rf out/glass-begun out/glass-lines out/simulated-glass
	$(VENV)/bin/linewatch simulate --dataset out/glass-lines --products glass --frames 1600 --seed 12 --straight 0.75
	@$(MAKE) --no-print-directory $(if $(BEGUN),model-glass-read,model-glass-begun)
	$(VENV)/bin/linewatch-train fit config/train.glass-lines.yaml --data out/glass-lines --from out/glass-begun$(if $(BEGUN),/begun.weights.h5) --out out/simulated-glass
	$(VENV)/bin/python -m benchmarks.carried_thresholds $(or $(BEGUN),out/glass-begun) out/simulated-glass --area scratch=38
	$(VENV)/bin/convert out/simulated-glass --to onnxruntime --precision fp16
	$(VENV)/bin/linewatch-train ship out/simulated-glass --out edge/bundles/simulated-glass

model-glass-begun:
	rm -rf out/glass
	$(VENV)/bin/linewatch simulate --dataset out/glass --products glass --frames 1400 --seed 1
	$(VENV)/bin/linewatch-train fit config/train.glass.yaml --data out/glass --out out/glass-begun

model-glass-read:
	$(VENV)/bin/python -m benchmarks.weights_of_graph $(BEGUN) out/glass-lines out/glass-begun

golden: $(VENV)/.installed ## record anew what the golden replay comes to; look at what differs
	LINEWATCH_WRITE_GOLDEN=1 $(VENV)/bin/python -m pytest -q tests/edge/station/test_golden_replay.py

picture: $(VENV)/.installed ## draw docs/demo.svg, what the demo shows, and docs/pictures
	$(VENV)/bin/python benchmarks/demo_picture.py
	$(VENV)/bin/python -m benchmarks.pictures
	$(VENV)/bin/python -m benchmarks.drawings
	$(VENV)/bin/python -m benchmarks.wiring

screenshots: debian $(VENV)/.installed ## photograph the operator's pages into docs/screens: a real broker, station and browser
	$(VENV)/bin/python -m benchmarks.screens $(ARGS)

alarm-diagram: $(VENV)/.installed ## draw the table of alarm states into docs/alarms.md
	$(VENV)/bin/python -m edge.alarms.drawing docs/alarms.md

results: $(VENV)/.installed ## train, convert and judge every recipe on the sets of DATA, and write docs/results.md (ARGS="--only steel,phone")
	$(VENV)/bin/python -m benchmarks.results --data $(DATA) $(ARGS)

lock: $(VENV)/.installed ## choose the versions that the tests, the demo and devices use
	$(VENV)/bin/pip install -q uv
	$(VENV)/bin/uv pip compile -q --universal --python-version 3.10 --extra dev --no-header -o requirements.lock pyproject.toml
	$(VENV)/bin/uv pip compile $(DEVICE_LOCK) --extra device -o requirements-device.lock pyproject.toml
	$(VENV)/bin/uv pip compile $(DEVICE_LOCK) --extra device --extra jetson -o requirements-jetson.lock pyproject.toml

debian:
	@missing=$$(for p in $(DEBIAN_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && $(APT) $$missing; \
	  else echo "The tests need Debian packages. Run: sudo apt-get install $$missing" >&2; exit 7; fi; fi

# Debian and Ubuntu keep venv in a package of its own.
define make_venv
	$(1) -m venv $(2) $(3) || { [ "$$(id -u)" = 0 ] && apt-get update -qq && $(APT) python3-venv && $(1) -m venv $(2) $(3); } \
	  || { echo "Run: sudo apt-get install python3-venv" >&2; exit 7; }
endef

$(VENV)/.installed: pyproject.toml requirements.lock
	$(call make_venv,$(PYTHON),$(VENV))
	$(VENV)/bin/pip install -q -c requirements.lock -e '.[dev]'
	@touch $@

$(DEMO_VENV)/.installed: pyproject.toml requirements.lock
	$(call make_venv,$(PYTHON),$(DEMO_VENV))
	$(DEMO_VENV)/bin/pip install -q -c requirements.lock -e '.[demo]'
	@touch $@

# Debian's Python and its OpenCV, which has GStreamer; linewatch beside it without any OpenCV from PyPI.
$(GST_VENV)/.installed: pyproject.toml requirements.lock
	$(call make_venv,/usr/bin/python3,$(GST_VENV),--system-site-packages)
	$(GST_VENV)/bin/pip install -q -e '.[genicam]' onnxruntime pytest pytest-timeout hypothesis
	@touch $@

clean: ## remove environments and outputs
	rm -rf $(VENV) $(DEMO_VENV) $(GST_VENV) out build *.egg-info
