# The study from a fresh clone: `make`. What each target does: `make help`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# Own data:  make DATASET=path/to/manifest.csv STUDY=name
# Real data: make DATASET=uhcsdb, downloaded; all of it with PARAMS="-p selection=whole"
# Own panel: make ... PANEL=data/panels/name
DATASET ?=
# A panel answers one quiz: without STUDY= it is quiz 1's.
STUDY ?= $(if $(filter uhcsdb,$(DATASET)),uhcs,$(if $(DATASET),study,$(if $(PANEL),quiz1)))
PANEL ?=
PARAMS ?=
JOBS ?= 2
SCHEDULER ?=
SEED ?= 0
ARGS ?=
# The Python that makes .venv: 3.11.5 or newer.
PYTHON3 ?= python3

# The activated conda environment of environment.yml is used as it is; otherwise .venv is made from the lock.
ifeq ($(CONDA_DEFAULT_ENV),microrace)
  PYTHON := $(CONDA_PREFIX)/bin/python
  LOCKED := $(CONDA_PREFIX)/microrace.lock
else
  PYTHON := .venv/bin/python
  LOCKED := .venv/microrace.lock
endif
export PYTHONPATH := $(CURDIR)/lib
export PATH := $(abspath $(dir $(PYTHON))):$(PATH)
# No file of the working folder is run because a library asks for a module of its name.
export PYTHONSAFEPATH := 1
export PYTHONHASHSEED := 0
export NO_ALBUMENTATIONS_UPDATE := 1
# This environment's kernel and not one that the user once installed; and no remark of its debugger at every start.
export JUPYTER_PREFER_ENV_PATH := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
# OpenMP's threads wait for each other by spinning; where another process wants the core, the one waited for cannot run.
export OMP_WAIT_POLICY := PASSIVE
# glibc gives every freed tensor back to the system, which has to fill the next one with zeros: more than half of the time
# of inference on a processor. Other C libraries do not know these.
export MALLOC_TRIM_THRESHOLD_ := 2000000000
export MALLOC_MMAP_THRESHOLD_ := 2000000000
export MALLOC_TOP_PAD_ := 100000000
# In a log a bar is looked at every ten seconds.
export TQDM_MININTERVAL := $(shell test -t 2 && echo 0.1 || echo 10)
# pip leaves out the compiling of modules that nothing imports; those imported have to be kept compiled, or each notebook
# compiles them anew (images for containers often forbid it). A warning of a library is no error of the study.
unexport PYTHONDONTWRITEBYTECODE PYTHONWARNINGS

# A word for the shell, whatever it holds.
quote = '$(subst ','\'',$(1))'
PY = $(call quote,$(PYTHON))
given = $(if $(strip $(2)),$(1) $(call quote,$(2)))
RUN = $(PY) -m microrace.study $(call given,--panel,$(PANEL)) --jobs $(JOBS) $(call given,--scheduler,$(SCHEDULER)) \
	$(PARAMS) $(if $(filter file,$(origin SEED)),,-p seed=$(SEED))
# The study that a target is about, if none is named; quiz1 and quiz2 are rendered where they are not there yet.
ABOUT = $(or $(STUDY),quiz1)
render = $(if $(filter $(1),quiz1 quiz2),$(PY) -m steelrender --quiz $(patsubst quiz%,%,$(1)) --out data/rendered/$(1) --seed $(SEED),:)

.PHONY: manifest all test lab quiz predict verify tolerance bench sweep figures figure env clean help

all: env  ## run the study: both rendered quizzes, or STUDY= on DATASET= with PANEL= and PARAMS="-p name=value"
ifneq ($(strip $(STUDY)),)
	@$(if $(strip $(DATASET)),:,$(call render,$(STUDY)))
	@$(RUN) --study $(call quote,$(STUDY)) $(call given,--dataset,$(DATASET))
else
# Side by side: much of a notebook's work keeps one core busy. Each line says whose it is.
	@$(MAKE) --no-print-directory --jobs 2 both-quiz1 both-quiz2
endif

# What matters is asked of quiz 1 alone, unless `make sweep STUDY=quiz2` has asked it too.
both-quiz2: FIRST = $(if $(findstring grid=,$(PARAMS))$(wildcard runs/quiz2/report.html),,-p grid=none)
both-%: env
	@$(MAKE) --no-print-directory all STUDY=$* PARAMS=$(call quote,$(PARAMS) $(FIRST)) 2>&1 | while IFS= read -r line; do printf '%s | %s\n' $* "$$line"; done

test: env  ## run the tests, the whole chain of notebooks with small parameters among them; ARGS= for pytest
	@$(PY) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lab: env  ## open the notebooks in JupyterLab; ARGS= for it
	@$(call render,quiz1)
	@$(PY) -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) --notebook-dir . --LabApp.default_url=/lab/tree/notebooks $(ARGS)

quiz: env  ## write the quiz page of STUDY= (default quiz1) or DATASET=; ARGS= --title, --contact, --references, --language
	@$(if $(strip $(DATASET)),:,$(call render,$(ABOUT)))
	@$(PY) -m microrace.readers --out runs/$(call quote,$(ABOUT))/quiz.html $(if $(wildcard runs/$(ABOUT)/manifest.csv),--run runs/$(ABOUT)) \
	  --manifest $(call quote,$(or $(DATASET),$(wildcard runs/$(ABOUT)/manifest.csv),data/rendered/$(ABOUT)/manifest.csv)) $(ARGS)

IMAGES ?=
manifest: env  ## write a manifest to fill in for IMAGES=folder, which has one subfolder of images a class; scales are taken from the files
	@$(PY) -m micrographs $(call quote,$(IMAGES))

predict: env  ## let STUDY= name the structures in IMAGES='folder/*.tif': runs/STUDY/predicted.html and .csv; ARGS= --pixels-per-um, --language
	@$(PY) -m microrace.opinion --run runs/$(call quote,$(ABOUT)) --images $(call quote,$(IMAGES)) \
	  --report runs/$(call quote,$(ABOUT))/predicted.html --out runs/$(call quote,$(ABOUT))/predicted.csv $(ARGS)

sweep: env  ## run the full grid of "what matters" for STUDY= (default quiz1), on JOBS= cores or SCHEDULER=tcp://host:port
	@$(MAKE) --no-print-directory all STUDY=$(call quote,$(ABOUT)) PARAMS=$(call quote,-p grid=full -p n_seeds=3 $(PARAMS))

figures: env  ## publish the figures and numbers of STUDY= (default quiz1) in figures/; ARGS=--replace where less is known than there
	@$(PY) tests/reproduce.py publish --study $(call quote,$(ABOUT)) $(ARGS)

NAME ?=
figure: env  ## draw one figure of STUDY= (default quiz1) again, NAME=confusion
	@$(PY) -m microrace.study --study $(call quote,$(ABOUT)) --figure $(call quote,$(NAME))

verify: env  ## run STUDY= (default quiz1) again: is each published number REPRODUCED? ARGS=--skip-sweep is quick
	@$(call render,$(ABOUT))
	@$(PY) tests/reproduce.py verify --study $(call quote,$(ABOUT)) $(call given,--dataset,$(DATASET)) $(ARGS)

tolerance: env  ## run STUDY= (default quiz1) with three more seeds: how far numbers may be off when reproduced
	@for seed in 101 102 103; do $(RUN) --study $(call quote,$(ABOUT))-seed$$seed --like $(call quote,$(ABOUT)) \
	  --replace -p seed=$$seed -p grid=none; done

bench: env  ## time the parts of the machine, each beside its peer
	@$(PY) tests/bench.py

# The lock names everything, each file by its sha256, so pip has nothing to resolve.
INSTALL = $(PY) -m pip install --quiet --no-compile --no-deps --require-hashes --requirement
LOCK = requirements.txt requirements-cuda.txt

# The lock is kept inside the environment that was made from it: another lock is installed anew.
env:  ## make .venv from the lock when it is missing or of another lock
	@cat $(LOCK) | cmp -s - $(call quote,$(LOCKED)) || $(MAKE) --no-print-directory $(if $(filter .venv/%,$(PYTHON)),venv,) install

.PHONY: venv install
venv:
	@test ! -L .venv || { echo "error: .venv is a link, and what it leads to belongs to another study; remove the link" >&2; exit 2; }
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' 2>/dev/null || \
	  { echo "error: Python 3.11.5 or newer is needed, and $(PYTHON3) is not that; name another one: make PYTHON3=python3.11" >&2; exit 2; }
	@echo "setting up .venv from requirements.txt (a minute or two)"
	$(PYTHON3) -m venv --clear .venv

install:
# torch without CUDA, where pip has that build at hand (a wheel on disk, an index of one's own): a tenth of the size.
	@grep -m1 -oE '^torch==[0-9.]+' requirements.txt | \
	  sed "s/$$/+cpu --hash=sha256:$$(sed -n 's/^# torch+cpu: //p' requirements.txt)/" > $(call quote,$(LOCKED).cpu)
	@$(INSTALL) $(call quote,$(LOCKED).cpu) 2>/dev/null || true
	$(INSTALL) requirements.txt
# PyPI's torch for Linux is the CUDA build, and needs these.
	@$(PY) -m pip check >/dev/null || $(INSTALL) requirements-cuda.txt
# The packages of lib/: found by this Python from anywhere, by command line, editor and notebook, and edited where they lie.
	@echo "$(CURDIR)/lib" > "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/microrace.pth"
# Outputs of notebooks stay out of commits, whoever saved them (.gitattributes names the filter).
	@! git rev-parse --git-dir >/dev/null 2>&1 || git config filter.nbstripout.clean \
	  '$(PYTHON) -m nbstripout --keep-id --extra-keys "metadata.papermill cell.metadata.papermill cell.metadata.execution"'
# JupyterLab does not ask whether to fetch news, and looks for no updates.
	@settings="$$($(PY) -c 'import sys; print(sys.prefix)')/share/jupyter/lab/settings" && mkdir -p "$$settings" && \
	  echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' \
	  > "$$settings/overrides.json"
	@cat $(LOCK) > $(call quote,$(LOCKED))

clean:  ## remove .venv, rendered micrographs, kept features and caches; runs/ stays
	rm -rf .venv data/rendered .cache .pytest_cache .ruff_cache .hypothesis

help:  ## list the targets and the words that go with them
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 11
	@printf '\nDATASET=  manifest, or uhcsdb\nSTUDY=    name of the folder in runs/\nPANEL=    folder of answer sheets\n'
	@printf 'PARAMS=   "-p name=value ..." of the notebooks\nSEED=     of everything random\nJOBS=     processes of a sweep\nPYTHON3=  the Python that makes .venv\n'
