#!/usr/bin/env bash
# Builds everything: types and modules with tsc (which also enforces the direction of imports), then the programs as bundles.
set -euo pipefail
cd "$(dirname "$0")/.."
npx --no-install tsc -b
node scripts/bundle.mjs
