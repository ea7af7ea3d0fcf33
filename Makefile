# make run | test | check | sim | memory | miri | fuzz | fuzz-api | bench | soak
# Each target installs the packages that it needs and says so. Required: Rust (stable, from rustup), on Debian 12 or a derivative.

SEEDS ?= 200
SIM_SAMPLE ?= 40
SECONDS ?= 600
MINUTES ?= 10
EXAMPLES ?= 100
RATE ?= 100
DATA ?= data
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)

# A C compiler is needed because SQLite and the TLS primitives are compiled into the binary.
APT_BUILD := gcc g++ libc6-dev make pkg-config
APT_TEST := $(APT_BUILD) git bash curl sip-tester baresip-core python3-venv python3-aiosmtpd postgresql openssl
# An S3 server for the tests of recordings, and the generator of requests from the OpenAPI document, in a version whose checks are known.
PIP_TEST := "moto[server]" "schemathesis==4.32.5"

part := .ci/part
# End-to-end tests of the last built binary; arguments after it go to the test runner.
E2E := CENTRALITA_BIN=$(TARGET)/debug/centralita cargo test --quiet --workspace --test e2e_tests --
export PATH := $(CURDIR)/target/tools/bin:$(PATH)

.PHONY: run test check unit e2e e2e-alone e2e-postgres kill sim memory miri fuzz fuzz-api fuzz-replay bench soak server fmt clippy tidy need-build need-test

# Run the server in the foreground with its data in ./data. LAN=1 opens it to the network.
run: need-build
	cargo run --release --package centralita-server -- serve --data $(DATA) $(if $(LAN),--lan)

# Everything that CI runs, with the time of each part. The build lints: clippy-driver compiles as rustc does, so that lints, tests
# and the server share one compilation.
test: export RUSTC_WORKSPACE_WRAPPER = clippy-driver
test: export CLIPPY_ARGS = -D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
test: need-test
	$(part) format cargo fmt --all --check
	$(part) build cargo build --quiet --workspace --all-targets
	$(part) tidy cargo xtask tidy
	$(part) unit $(MAKE) --no-print-directory unit
	$(part) e2e $(MAKE) --no-print-directory e2e
	$(part) e2e-alone $(MAKE) --no-print-directory e2e-alone
	$(part) e2e-postgres $(MAKE) --no-print-directory e2e-postgres
	$(part) sim $(MAKE) --no-print-directory sim
	@echo "all parts passed"

# The quick checks: rules of the tree, format, lints.
check: need-test
	$(part) tidy cargo xtask tidy
	$(part) format cargo fmt --all --check
	$(part) clippy cargo clippy --quiet --workspace --all-targets -- -D warnings

# Each of these builds the whole workspace, so that features, and therefore compiled artefacts, are the same in each.
unit:
	CENTRALITA_SIM_SEEDS=$(SIM_SAMPLE) cargo test --quiet --workspace --lib --bins --test '[!e]*'

# The fuzzing corpus as ordinary tests; the unit tests include it.
fuzz-replay:
	cargo test --quiet --workspace --test sip_tests --test media_tests -- corpus::

# The tests mostly wait, so more of them run at once than there are cores. Those that measure or flood run separately.
ALONE := attacks_floods:: attacks_guessing:: bursts:: kill::
e2e: need-test server
	$(E2E) --test-threads 6 $(addprefix --skip ,$(ALONE))

e2e-alone: need-test server
	$(E2E) --test-threads 2 $(ALONE)

# The tests that use the database, with PostgreSQL, which the tests start themselves. Two servers on one database, outages
# and the migration are among the tests above.
e2e-postgres: need-test server
	CENTRALITA_TEST_STORE=postgres cargo test --quiet --workspace --test store_tests
	CENTRALITA_TEST_STORE=postgres CENTRALITA_KILLS=4 $(E2E) --test-threads 6 \
		document_ registration:: call_flows:: forwarding:: voicemail:: recording:: announcements:: events:: kill::

# Repeated kill -9 during calls.
kill: need-test server
	$(E2E) kill::

server:
	cargo build --quiet --workspace --bin centralita --test e2e_tests

# Simulated runs with loss, duplication, reordering and crashes: make sim SEEDS=1000
sim: need-build
	cargo xtask sim --seeds $(SEEDS)

# Tests of the pointer code under AddressSanitizer, and under Miri if it is installed; the output says which.
memory: need-build
	cargo xtask memory

# The same under Miri, which must be installed: rustup +nightly component add miri
miri: need-build
	cargo xtask miri

# Each fuzz target for a number of seconds: make fuzz SECONDS=60
fuzz: need-build
	.ci/need cargo cargo-fuzz
	cargo xtask fuzz --seconds $(SECONDS)

# Generated requests to every API route, longer than in the tests above: make fuzz-api EXAMPLES=500 SECONDS=900
fuzz-api: need-test server
	CENTRALITA_FUZZ_EXAMPLES=$(EXAMPLES) CENTRALITA_FUZZ_SECONDS=$(SECONDS) CENTRALITA_FUZZ_SEED=$(shell date +%s) \
		$(E2E) --test-threads 1 fuzz_api::

# Benchmark of the server and its peers, on the same core, in a network namespace (root): make bench QUICK=1 for a short run.
bench: need-build
	bench/setup
	bench/run $(if $(QUICK),--quick)

# Soak test, which checks for lost calls and memory growth: make soak MINUTES=10 RATE=300 (calls per second)
soak: need-build
	@.ci/need apt python3
	bench/soak --minutes $(MINUTES) --rate $(RATE)

fmt:
	cargo fmt --all

tidy:
	cargo xtask tidy

need-build:
	@.ci/need apt $(APT_BUILD)

need-test:
	@.ci/need apt $(APT_TEST)
	@.ci/need pip $(PIP_TEST)
