#!/usr/bin/env bash
# Faults at random on a cluster of virtual machines; see docs/design/chaos.md. Does all set-up itself.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
npm run --silent build >&2
exec node dist/bin/chaos.mjs "$@"
