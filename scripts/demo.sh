#!/usr/bin/env bash
# The main job on a cluster of separate processes while they are killed; see docs/demo.md. Does all set-up itself.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
npm run --silent build >&2
exec node dist/bin/demo.mjs "$@"
