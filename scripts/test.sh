#!/usr/bin/env bash
# Everything that CI runs, in the order in which a failure is cheapest to find.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh

step() { printf '\n== %s\n' "$*"; }

step "build (types, direction of imports, bundles); lint and tidy"
# Each keeps one core busy, and neither needs the other.
npm run --silent lint &
lint=$!
npm run --silent build
wait "$lint"
step "types of tests and examples"
npx --no-install tsc -p test/tsconfig.json --noEmit
step "unit tests"
npx --no-install vitest run --project unit
step "integration tests (real processes, files and sockets)"
npx --no-install vitest run --project integration
step "simulator: fixed seeds"
node dist/bin/sim.mjs --ci
step "demo, without faults, with them, and with ZooKeeper"
node dist/bin/demo.mjs --no-faults --seed 7 --json | node -e 'JSON.parse(require("node:fs").readFileSync(0, "utf8"))'
node dist/bin/demo.mjs
node dist/bin/demo.mjs --zookeeper
step "benchmarks, a short fixed part"
node dist/bin/bench.mjs --ci
printf '\nall steps passed\n'
