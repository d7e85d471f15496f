# The verbs of the house. `make help` lists them.
PREFIX ?= /usr/local
DESTDIR ?=
SWIFT ?= swift

# SwiftPM hands the package's traits to the compiler in the order of a hash table: another order, and all is compiled anew.
BUILD = SWIFT_DETERMINISTIC_HASHING=1 $(SWIFT) build

# Two scratch folders, since the flags of one build would rebuild the other.
RELEASE = --configuration release
TESTING = --configuration release --scratch-path .build-test -Xswiftc -enable-testing
ifeq ($(shell uname -s),Darwin)
  # Homebrew keeps these beside the system's own, out of pkg-config's sight.
  BREW := $(shell brew --prefix 2>/dev/null)
  export PKG_CONFIG_PATH := $(subst @,$(BREW)/opt/,@openblas/lib/pkgconfig:@lapack/lib/pkgconfig:@jpeg-turbo/lib/pkgconfig:@zlib/lib/pkgconfig):$(PKG_CONFIG_PATH)
else
  # Starting is quicker without the Swift libraries to load, and the binary can be moved.
  RELEASE += --static-swift-stdlib
endif

# WITHOUT=TIFF, WITHOUT=WebP or WITHOUT="TIFF WebP" leaves out the readers that need a library.
WITHOUT ?=
TRAITS = $(filter-out $(WITHOUT),TIFF WebP)
# MPI=1 builds the command that mpirun starts, with Open MPI or whatever AIPO_MPI names for pkg-config (mpich, say).
ifdef MPI
  TRAITS += MPI
  export AIPO_MPI := $(or $(AIPO_MPI),$(shell pkg-config --exists mpich && ! pkg-config --exists ompi-c && echo mpich || echo ompi-c))
endif
comma = ,
space = $(subst ,, )
RELEASE += $(if $(strip $(TRAITS)),--traits $(subst $(space),$(comma),$(strip $(TRAITS))),--disable-default-traits)

.DEFAULT_GOAL := build
.PHONY: help setup build demo study study-global calibration tutorial bench test test-package test-dependent test-neon parity peers peers-operators peers-cases peers-posterior fuzz \
	test-mpi test-slurm sanitize sanitize-short kill abuse install uninstall format lint docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 24

setup: ## installs the system libraries that are missing (MPI=1: Open MPI as well)
	@MPI=$(MPI) WITHOUT='$(WITHOUT)' scripts/setup

build: setup ## the command, at .build/release/aipo (MPI=1: for several processes, docs/scaling.md; WITHOUT="TIFF WebP")
	$(BUILD) $(RELEASE) --product aipo

demo: build ## reconstructs the shipped test images: a table, demo/report.html, pictures
	scripts/demo .build/release/aipo

# STUDY=Studies/paper.yaml, Studies/starts.yaml and Studies/methods.yaml are the paper's comparison, which takes hours.
STUDY ?= Studies/quick.yaml

study: build ## the comparison on 12 images, a quarter of an hour: runs/quick/report.html (STUDY=file.yaml)
	mkdir -p runs
	.build/release/aipo study $(STUDY) --out runs/$(basename $(notdir $(STUDY)))

study-global: setup ## path against brute force on small problems, ten minutes: runs/global-minimum/table.md
	$(SWIFT) run --configuration release --package-path Studies/GlobalMinimum GlobalMinimum \
	  --out runs/global-minimum

# PROBLEMS=1000 takes hours.
PROBLEMS ?= 200

calibration: build ## ranks of known truths among draws of their posteriors: runs/calibration/table.md (PROBLEMS=n)
	scripts/calibration .build/release/aipo runs/calibration $(PROBLEMS)

test: test-package test-dependent test-neon ## all tests

test-package: setup ## the package's own tests
	$(BUILD) $(TESTING) --build-tests
	@scripts/failures-last $(SWIFT) test --skip-build $(TESTING)

test-dependent: setup ## a package that depends on this one, and the README's example
	scripts/test-dependent

tutorial: build ## every command of the tutorial, the recipes and the cookbook, word by word, in a scratch folder
	scripts/tutorial .build/release/aipo

bench: build ## the speed of flows and kernels beside the BLAS and PyTorch, as bench/table.md
	scripts/bench .build/release/aipo

test-neon: ## the NEON kernels, elsewhere than on aarch64 under an emulator
	scripts/test-neon

PYTHON ?= python3

parity: build ## compares with programs whose checkpoints and files are read or whose operators are ours, too; needs Tests/Parity/requirements.txt
	PYTHONWARNINGS=ignore $(PYTHON) Tests/Parity/parity.py .build/release/aipo
	$(PYTHON) Tests/Parity/formats.py .build/release/aipo
	$(PYTHON) Tests/Parity/operators.py .build/release/aipo

PHOTOGRAPHS ?= runs/photographs

peers: build ## denoising beside BM3D, EPLL, PatchNR and total variation: runs/peers/table.md (PICTURES=folder of your own)
	test -d $(PHOTOGRAPHS) || scripts/photographs $(PHOTOGRAPHS)
	PYTHONWARNINGS=ignore $(PYTHON) Tests/Parity/peers.py .build/release/aipo $(PHOTOGRAPHS) $(PICTURES)

peers-operators: build ## products with large operators beside scipy, ASTRA, deepinv and scikit-image: runs/peers/operators.md
	PYTHONWARNINGS=ignore $(PYTHON) Tests/Parity/operator_speed.py .build/release/aipo Models/photographs-grey.safetensors

PRIORS ?= runs/priors

peers-cases: build ## super-resolution, tomography, motion blur and k-space beside total variation and EPLL: runs/peers/cases.md (MATERIAL=folder)
	PYTHONWARNINGS=ignore $(PYTHON) Tests/Parity/cases.py .build/release/aipo $(MATERIAL) $(PRIORS)

peers-posterior: build ## draws of a posterior beside NUTS of numpyro and blackjax, an hour or two: runs/peers/posterior.md
	PYTHONWARNINGS=ignore $(PYTHON) Tests/Parity/posterior.py .build/release/aipo runs/peers

KILLS ?= 100

test-mpi: ## trainings, studies and the rest over 1 to 8 ranks, and killed: the same bytes (KILLS=n, 0 for none; AIPO_MPI=mpich)
	$(MAKE) build MPI=1
	scripts/test-mpi .build/release/aipo $(KILLS)

test-slurm: ## a Slurm of its own on this machine, as root: an array of 7 over a study, two tasks of it killed
	$(MAKE) build
	scripts/test-slurm .build/release/aipo

SECONDS_EACH ?= 60

fuzz: setup ## libFuzzer on every reader of files, a minute each (SECONDS_EACH=s, TARGETS="zip yaml")
	scripts/fuzz $(SECONDS_EACH) $(TARGETS)

sanitize: setup ## all tests under the sanitizers of addresses, leaks, threads and undefined behaviour; hours
	scripts/sanitize

sanitize-short: setup ## the readers and the C kernels under the sanitizers
	scripts/sanitize short

kill: build ## kills 210 trainings, studies and imports at random moments, and compares what comes of them
	scripts/kill .build/release/aipo

abuse: build ## inputs at the edge of arithmetic and beyond: the table of Studies/robustness.md
	scripts/abuse .build/release/aipo

SHARE = $(DESTDIR)$(PREFIX)/share
# Where the shells look for completions.
COMPLETIONS = bash-completion/completions/aipo zsh/site-functions/_aipo fish/vendor_completions.d/aipo.fish

install: build ## the command with its priors, manual pages and completions, under PREFIX (/usr/local)
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(SHARE)/aipo" "$(SHARE)/man/man1" $(patsubst %,"$(SHARE)/%",$(dir $(COMPLETIONS)))
	install -s -m 755 .build/release/aipo "$(DESTDIR)$(PREFIX)/bin/aipo"
	cp -R Models/. "$(SHARE)/aipo" && chmod -R u=rwX,go=rX "$(SHARE)/aipo"
	for file in $(COMPLETIONS); do \
	  .build/release/aipo --generate-completion-script "$${file%%[-/]*}" >"$(SHARE)/$$file" || exit; \
	done
	if command -v $(PYTHON) >/dev/null; then \
	  $(PYTHON) scripts/man-pages .build/release/aipo "$(SHARE)/man/man1"; \
	else \
	  echo "make install: without Python 3 there are no manual pages"; \
	fi

uninstall: ## removes what install put under PREFIX
	rm -rf "$(SHARE)/aipo"
	rm -f "$(DESTDIR)$(PREFIX)/bin/aipo" $(patsubst %,"$(SHARE)/%",$(COMPLETIONS)) \
	  "$(SHARE)"/man/man1/aipo.1 "$(SHARE)"/man/man1/aipo-*.1

SWIFT_FILES = find Package.swift Sources Studies Tests Benchmarks -name '.build*' -prune -o -name '*.swift' -print0

format: ## rewrites the Swift files in the house's style
	$(SWIFT_FILES) | xargs -0 $(SWIFT) format format --in-place --parallel

lint: build ## fails where the style isn't kept, modules aren't as drawn, or a page has a dead link or an unknown flag
	$(SWIFT_FILES) | xargs -0 $(SWIFT) format lint --strict --parallel
	scripts/lint-names
	scripts/check-modules
	scripts/check-packages
	scripts/lint-docs .build/release/aipo

DOCUMENTED = AIPO AIPOKernels AIPOFlows AIPOPriors AIPOProblems AIPOSolvers AIPOImaging AIPOInterchange AIPOTasks AIPOStudies AIPOFlowTesting

# Pictures are links in the catalogue, and come out as such.
docs: setup ## the reference and the articles, at .build/documentation
	$(SWIFT) package --allow-writing-to-directory .build/documentation generate-documentation \
	  --enable-experimental-combined-documentation $(DOCUMENTED:%=--target %) \
	  --transform-for-static-hosting --output-path .build/documentation
	find .build/documentation -type l | while read -r link; do rm "$$link" && cp "docs/$${link##*/}" "$$link"; done

clean: ## removes everything that was built
	rm -rf .build .build-test .build-address .build-thread .build-undefined Fuzz/.build Studies/GlobalMinimum/.build Tests/Dependent/.build Tests/Dependent/Sources/ReadmeExample Benchmarks/.build demo bench
