# make run | test | check | sim | memory | miri | fuzz | fuzz-api | bench | soak
# Each target installs what it needs and says so. Needed beforehand: Rust (rustup's stable), on Debian 12 or a relative of it.

SEEDS ?= 200
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
export PATH := $(CURDIR)/target/tools/bin:$(PATH)

.PHONY: run test check unit e2e e2e-postgres kill sim memory miri fuzz fuzz-api fuzz-replay bench soak build fmt clippy tidy need-build need-test

# The server in the foreground, with its state in ./data. LAN=1 opens it to the network.
run: need-build
	cargo run --release --package centralita-server -- serve --data $(DATA) $(if $(LAN),--lan)

# Everything that CI asks, each part with its time.
test: check build
	$(part) unit $(MAKE) --no-print-directory unit
	$(part) fuzz-replay $(MAKE) --no-print-directory fuzz-replay
	$(part) e2e $(MAKE) --no-print-directory e2e
	$(part) e2e-postgres $(MAKE) --no-print-directory e2e-postgres
	$(part) kill $(MAKE) --no-print-directory kill
	$(part) sim $(MAKE) --no-print-directory sim
	@echo "all parts passed"

# What is quick: walls, format, lints.
check: need-test
	$(part) tidy cargo xtask tidy
	$(part) format cargo fmt --all --check
	$(part) clippy cargo clippy --quiet --workspace --all-targets -- -D warnings

build: need-test
	$(part) build cargo build --quiet --workspace --all-targets

unit:
	cargo test --quiet --workspace --exclude e2e --exclude centralita-sim
	cargo test --quiet --package centralita-sim --lib

# Inputs that a fuzzer once found worth keeping, as ordinary tests.
fuzz-replay:
	cargo test --quiet --package centralita-sip --package centralita-media --test corpus

# The tests wait far more than they compute, so more of them run at once than there are cores.
e2e: need-test
	cargo build --quiet --package centralita-server
	CENTRALITA_BIN=$(TARGET)/debug/centralita cargo test --quiet --package e2e --lib
	CENTRALITA_BIN=$(TARGET)/debug/centralita cargo test --quiet --package e2e --no-fail-fast \
		--test '[!k]*' -- --test-threads 6

# What touches the database, once more with PostgreSQL, which the tests start themselves. Two servers on one database, outages
# and the move are among the tests above.
e2e-postgres: need-test
	CENTRALITA_TEST_STORE=postgres cargo test --quiet --package centralita-store
	cargo build --quiet --package centralita-server
	CENTRALITA_TEST_STORE=postgres CENTRALITA_KILLS=4 CENTRALITA_BIN=$(TARGET)/debug/centralita cargo test --quiet \
		--package e2e --no-fail-fast --test 'document_*' --test registration --test call_flows --test forwarding \
		--test voicemail --test recording --test announcements --test events --test kill -- --test-threads 6

# kill -9 in the middle of calls, again and again.
kill: need-test
	cargo build --quiet --package centralita-server
	CENTRALITA_BIN=$(TARGET)/debug/centralita cargo test --quiet --package e2e --test kill

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
fuzz-api: need-test
	cargo build --quiet --package centralita-server
	CENTRALITA_BIN=$(TARGET)/debug/centralita CENTRALITA_FUZZ_EXAMPLES=$(EXAMPLES) CENTRALITA_FUZZ_SECONDS=$(SECONDS) CENTRALITA_FUZZ_SEED=$(shell date +%s) \
		cargo test --quiet --package e2e --test fuzz_api -- --test-threads 1

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
