# `make demo` and `make test` set everything up by themselves; they need Python >= 3.11 and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SHOWN  := $(VENV)/.ready-to-show
EXP    := examples/EXP-0002-reviews
# A test file stays with one process, as the fixtures of a file are costly.
# The long files are those of pipelines, which come first: so both processes have work to the end.
# A test that hangs where no signal is heard (in a library's own code) ends with its process, and says where.
SHARED := --numprocesses=2 --dist=loadfile --no-loadscope-reorder
HANGS  := --max-worker-restart=2 -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

.PHONY: demo test test-all compiled test-aws test-containers check fuzz mutants chaos format bench docs clean help

help:
	@sed -n 's/^## //p' Makefile

INSTALL = $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet \
  --disable-pip-version-check --constraint constraints.txt --editable

# Two of MariaDB's drivers are compiled, where its client library is there to compile them with.
comma := ,
COMPILED := $(if $(shell command -v mariadb_config),$(comma)mariadb-c)

$(READY): pyproject.toml constraints.txt
	$(INSTALL) '.[dev,onnx,parts,peft,trackers$(COMPILED)]'
	@touch $(READY) $(SHOWN)

# The demo needs less than the tests do.
$(SHOWN): pyproject.toml constraints.txt
	$(INSTALL) '.[demo]'
	@touch $(SHOWN)

## make demo      the reviews experiment, end to end: SQLite, local files, CPU
demo: $(SHOWN)
	$(BIN)/python examples/build_reviews.py examples/reviews
	$(BIN)/python examples/get_model.py examples/models
	$(BIN)/handful run $(EXP)

## make test      all tests but the slow ones
test: $(READY) compiled
	$(BIN)/python -m pytest $(SHARED) $(HANGS) -m "not slow and not live"

## make test-all  the slow ones, too
test-all: $(READY) compiled
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[slow-parts]'
	$(BIN)/python -m pytest $(SHARED) -m "not live"

# The tests start a thousand processes of handful's; none of them should compile it anew.
compiled: $(READY)
	@$(BIN)/python -m compileall -q src tests

## make test-aws  one small job of each kind on AWS itself: costs money, says first how much
test-aws: $(READY)
	$(BIN)/python -m pytest -m live tests/pipeline/test_sagemaker_live.py

## make test-containers   the image, built and run by podman (root, and Debian's podman, buildah,
##                runc, debootstrap, netavark, aardvark-dns and docker-registry); takes minutes
test-containers: $(READY)
	$(BIN)/python -m pytest -s -m containers tests/pipeline/test_sagemaker_in_containers.py

## make check     style, types, names, the arrows between the rooms, and what bandit and pip-audit find
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_arrows.py tests/unit/test_names.py
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src
	$(BIN)/python .ci/audit.py

## make fuzz      the tests of hostile input, with as many cases each as CASES says
CASES ?= 10000
fuzz: $(READY)
	HANDFUL_FUZZ_CASES=$(CASES) $(BIN)/python -m pytest --timeout=0 --durations=20 tests/unit/test_fuzz_*.py

## make mutants   do the tests notice small faults in lock, matching, ledger, splits and metrics?
##                (a fixed sample of 200; up to an hour on two cores)
mutants: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[mutants]'
	$(BIN)/python tests/mutants.py

## make chaos     MINUTES=2 of runs that are killed, frozen, out of room, out of time or lied to by S3,
##                and must end as if nothing had been; SEED, KINDS, STORES, ROUNDS, ROUND_SEED narrow it
MINUTES ?= 2
chaos: $(READY) compiled
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) \
	  $(if $(KINDS),--kinds $(KINDS)) $(if $(STORES),--stores $(STORES)) \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ROUND_SEED),--round-seed $(ROUND_SEED))

## make format    let ruff rewrite what it can
format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

## make bench     start-up times, the demo against its baseline, reconcile and prepare against others
bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/demo.py
	$(BIN)/python bench/reconcile.py copy --server latency
	$(BIN)/python bench/reconcile.py copy --server seaweedfs
	$(BIN)/python bench/reconcile.py listing
	$(BIN)/python bench/reconcile.py match
	$(BIN)/python bench/reconcile.py again
	$(BIN)/python bench/prepare.py encode --texts licences
	$(BIN)/python bench/prepare.py encode --texts generated --rounds 1
	$(BIN)/python bench/prepare.py command --texts licences
	$(BIN)/python bench/prepare.py command --texts generated
	$(BIN)/python bench/prepare.py near
	$(BIN)/python bench/prepare.py splits
	$(BIN)/python bench/leakage.py

## make clean     remove what the demo made; the venv stays
clean:
	rm -rf examples/business examples/reviews examples/models examples/store .pytest_cache .mypy_cache .ruff_cache
