# make run | test | check | sim | memory | miri | fuzz | fuzz-api | bench | soak
# Each target installs what it needs and says so. Needed beforehand: Rust (rustup's stable), on Debian 12 or a relative of it.

SEEDS ?= 200
SIM_SAMPLE ?= 40
SECONDS ?= 600
MINUTES ?= 10
EXAMPLES ?= 100
RATE ?= 100
DATA ?= data
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)

# What a C compiler is needed for: SQLite and the TLS primitives are compiled into the binary.
APT_BUILD := gcc g++ libc6-dev make pkg-config
APT_TEST := $(APT_BUILD) git bash curl sip-tester baresip-core python3-venv python3-aiosmtpd postgresql openssl
# An S3 server for the tests of recordings; what makes requests out of the OpenAPI document, in the version whose checks we know.
PIP_TEST := "moto[server]" "schemathesis==4.32.5"

part := .ci/part
# End-to-end tests of the binary that the last build made; what follows are words of the test runner.
E2E := CENTRALITA_BIN=$(TARGET)/debug/centralita cargo test --quiet --workspace --test e2e_tests --
export PATH := $(CURDIR)/target/tools/bin:$(PATH)

.PHONY: run test check unit e2e e2e-alone e2e-postgres kill sim memory miri fuzz fuzz-api fuzz-replay bench soak server fmt clippy tidy need-build need-test

# The server in the foreground, with its state in ./data. LAN=1 opens it to the network.
run: need-build
	cargo run --release --package centralita-server -- serve --data $(DATA) $(if $(LAN),--lan)

# Everything that CI asks, each part with its time. The build lints: clippy's driver compiles as rustc does, so that lints, tests
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

# What is quick: the rules of the tree, format, lints.
check: need-test
	$(part) tidy cargo xtask tidy
	$(part) format cargo fmt --all --check
	$(part) clippy cargo clippy --quiet --workspace --all-targets -- -D warnings

# All packages are named in each of these, so that features, and with them what is compiled, are the same in each.
unit:
	CENTRALITA_SIM_SEEDS=$(SIM_SAMPLE) cargo test --quiet --workspace --lib --bins --test '[!e]*'

# Inputs that a fuzzer once found worth keeping, as ordinary tests; they are among the unit tests too.
fuzz-replay:
	cargo test --quiet --workspace --test sip_tests --test media_tests -- corpus::

# The tests wait far more than they compute, so more of them run at once than there are cores. Those that measure or flood run by themselves.
ALONE := attacks_floods:: attacks_guessing:: bursts:: kill::
e2e: need-test server
	$(E2E) --test-threads 6 $(addprefix --skip ,$(ALONE))

e2e-alone: need-test server
	$(E2E) --test-threads 2 $(ALONE)

# What touches the database, once more with PostgreSQL, which the tests start themselves. Two servers on one database, outages
# and the move are among the tests above.
e2e-postgres: need-test server
	CENTRALITA_TEST_STORE=postgres cargo test --quiet --workspace --test store_tests
	CENTRALITA_TEST_STORE=postgres CENTRALITA_KILLS=4 $(E2E) --test-threads 6 \
		document_ registration:: call_flows:: forwarding:: voicemail:: recording:: announcements:: events:: kill::

# kill -9 in the middle of calls, again and again.
kill: need-test server
	$(E2E) kill::

server:
	cargo build --quiet --workspace --bin centralita --test e2e_tests

# Days at the office with loss, duplication, reordering and crashes: make sim SEEDS=1000
sim: need-build
	cargo xtask sim --seeds $(SEEDS)

# What works with pointers, under AddressSanitizer; under Miri too where it is installed, and it says which.
memory: need-build
	cargo xtask memory

# Under Miri, or not at all: rustup +nightly component add miri
miri: need-build
	cargo xtask miri

# Every fuzz target for so many seconds: make fuzz SECONDS=60
fuzz: need-build
	.ci/need cargo cargo-fuzz
	cargo xtask fuzz --seconds $(SECONDS)

# Requests to every route that nobody would write, longer than among the tests above: make fuzz-api EXAMPLES=500 SECONDS=900
fuzz-api: need-test server
	CENTRALITA_FUZZ_EXAMPLES=$(EXAMPLES) CENTRALITA_FUZZ_SECONDS=$(SECONDS) CENTRALITA_FUZZ_SEED=$(shell date +%s) \
		$(E2E) --test-threads 1 fuzz_api::

# Beside the peers, on the same core, in a network namespace (root): make bench QUICK=1 for a short one.
bench: need-build
	bench/setup
	bench/run $(if $(QUICK),--quick)

# Calls without a pause, and whether one is lost or memory grows: make soak MINUTES=10 RATE=300 (calls a second)
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
