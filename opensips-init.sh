#!/usr/bin/env bash
# Makes the data directory, the first administrator's key and the paths opensips/logs/opensips.log and opensips/opensips.cfg.
# Options are handed on: ./opensips-init.sh --data /var/lib/centralita
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
for binary in "${CENTRALITA_BIN:-}" "$here/target/release/centralita" "$here/target/debug/centralita" "$(command -v centralita || true)"; do
    if [ -n "$binary" ] && [ -x "$binary" ]; then
        exec "$binary" init --layout opensips "$@"
    fi
done
echo "centralita is not built yet; run: cargo build --release --package centralita-server" >&2
exit 1
