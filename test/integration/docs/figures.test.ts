/** Figures that the documentation states are those of the code: each sentence is made here from the constants, and has to stand there. */

import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { DEFAULT_JOIN_LIMIT, DEFAULT_SORT_LIMIT } from "../../../src/api/operators.js";
import { MAX_PARALLELISM } from "../../../src/api/plan.js";
import { DEFAULT_COLLECT_LIMIT } from "../../../src/api/sink.js";
import { EXECUTOR_LIMITS } from "../../../src/executor/core/executor-events.js";
import { COMBINE_MAX_KEYS } from "../../../src/executor/run/aggregate-unit.js";
import { MAX_PAYLOAD_BYTES, MAX_VALUE_DEPTH } from "../../../src/executor/run/codec/limits.js";
import { MAX_MASTER_ADDRESSES } from "../../../src/host/finding/master-url.js";
import { DRIVER_LIMITS } from "../../../src/job/driver-events.js";
import { LOST_STRATEGY, USER_STRATEGY } from "../../../src/job/restart-strategy.js";
import { MAX_BATCH_EVENTS, MAX_EVENT_BATCHES } from "../../../src/master/event-history.js";
import { CANCEL_BY_MESSAGE_SHARE, DEFAULT_MASTER_SETTINGS } from "../../../src/master/settings.js";
import { MAX_ADVERTISED } from "../../../src/node/files/advertise-file.js";
import { PLAN_TIMEOUT_MS } from "../../../src/node/planning/plan-in-child.js";
import { DEFAULT_RESTART_POLICY, MAX_RESULT_BYTES } from "../../../src/wire/application.js";
import { MAX_CONTROL_FRAME_BYTES, MAX_HANDSHAKE_FRAME_BYTES } from "../../../src/wire/envelope.js";
import { HANDSHAKE_TIMEOUT_MS, MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED_PER_ADDRESS } from "../../../src/wire/handshake.js";
import { MAX_ARTIFACT_BYTES } from "../../../src/wire/operations.js";
import { leaseMsFor } from "../../../src/wire/partition-lease.js";
import { MAX_INVENTORY } from "../../../src/wire/worker-messages.js";
import { WORKER_LIMITS } from "../../../src/worker/worker-events.js";
import { ROOT } from "../../support/holdfast.js";

const count = (value: number) => value.toLocaleString("en-US");
const seconds = (ms: number) => `${ms / 1000} s`;
const kib = (bytes: number) => `${bytes / 1024} KiB`;
const mib = (bytes: number) => `${bytes / 1024 ** 2} MiB`;
const master = DEFAULT_MASTER_SETTINGS;
const restart = DEFAULT_RESTART_POLICY;
const exponential = (strategy: typeof LOST_STRATEGY) => {
  if (strategy.kind !== "exponential") throw new Error("the documentation describes an exponential strategy");
  return strategy;
};
const lost = exponential(LOST_STRATEGY);
const user = exponential(USER_STRATEGY);

const FIGURES: readonly (readonly [document: string, sentence: string])[] = [
  ["job-guide.md", `at most \`maxBuildRecords\` (${count(DEFAULT_JOIN_LIMIT)}) in one subtask`],
  ["job-guide.md", `It holds at most \`maxRecords\` (${count(DEFAULT_SORT_LIMIT)})`],
  [
    "job-guide.md",
    `at most \`maxRecords\` (${count(DEFAULT_COLLECT_LIMIT)}) of all subtasks together, and on a cluster ${kib(MAX_RESULT_BYTES)} as JSON`,
  ],
  ["job-guide.md", `at most ${count(COMBINE_MAX_KEYS)} keys`],
  ["job-guide.md", `| parallelism of a job | ${MAX_PARALLELISM} |`],
  ["job-guide.md", `| time and memory to plan a job | ${seconds(PLAN_TIMEOUT_MS)}, `],
  ["job-guide.md", `| bundled job file | ${mib(MAX_ARTIFACT_BYTES)} |`],
  ["job-guide.md", `| one record between two executors | ${mib(MAX_PAYLOAD_BYTES)} |`],
  ["job-guide.md", `| nesting of a record | ${MAX_VALUE_DEPTH} levels |`],
  ["job-guide.md", `after ${lost.initialMs} ms, doubling to ${seconds(lost.maxMs)}; a minute without a loss`],
  [
    "job-guide.md",
    `${user.attempts === 2 ? "three" : "?"} tries in all: after ${user.initialMs} ms, then ${seconds(2 * user.initialMs)} |`,
  ],
  [
    "operating.md",
    `${seconds(DRIVER_LIMITS.reconnectMs)} of silence; ${DRIVER_LIMITS.unresponsiveMs / 60_000} minutes when it answers but user code keeps it busy`,
  ],
  [
    "operating.md",
    `refused for ${seconds(EXECUTOR_LIMITS.refusedGraceMs)}, or away for ${seconds(EXECUTOR_LIMITS.driverDeadlineMs)}`,
  ],
  ["operating.md", `no leader has confirmed its worker for ${seconds(leaseMsFor(master.workerDeadlineMs, master.programFenceMs))}`],
  ["operating.md", `(${master.removalLimit.perMinute}/min) workers`],
  ["operating.md", `(${master.removalLimit.share * 100}%) of the workers`],
  ["operating.md", `for the worker deadline less ${seconds(WORKER_LIMITS.leaseMarginMs)}`],
  [
    "operating.md",
    `gets ${seconds(master.stopGraceMs * CANCEL_BY_MESSAGE_SHARE)} (${CANCEL_BY_MESSAGE_SHARE} of \`--stop-grace\`)`,
  ],
  [
    "operating.md",
    `after ${seconds(restart.minBackoffMs)}, doubling to ${seconds(restart.maxBackoffMs)}, at most ${restart.maxRestarts} times`,
  ],
  ["operating.md", `within ${restart.windowMs / 60_000} minutes; then the application fails`],
  ["operating.md", `any of these knows who leads; at most ${MAX_MASTER_ADDRESSES} |`],
  ["operating.md", `keeps at most ${MAX_ADVERTISED} lines`],
  ["operating.md", `(the newest ${count(master.maxEvents)} events at most)`],
  [
    "operating.md",
    `The newest ${count(MAX_EVENT_BATCHES)} records of events are kept, each with up to ${MAX_BATCH_EVENTS} events of one moment`,
  ],
  ["operating.md", `| applications that have not ended | ${count(master.maxActive)}; more are refused |`],
  ["operating.md", `| ended applications that are kept | ${count(master.maxFinished)} (\`--max-finished\`) |`],
  ["operating.md", `${count(master.maxRecordBytes)} bytes |`],
  ["operating.md", `| processes of one worker | ${count(MAX_INVENTORY)} |`],
  ["operating.md", `| long polls (status, events) at once | ${count(master.maxWaiters)} |`],
  ["operating.md", `| ${count(MAX_UNAUTHENTICATED)}, and ${MAX_UNAUTHENTICATED_PER_ADDRESS} from one address |`],
  [
    "security.md",
    `(${kib(MAX_HANDSHAKE_FRAME_BYTES)}, ${seconds(HANDSHAKE_TIMEOUT_MS)}, at most ${MAX_UNAUTHENTICATED_PER_ADDRESS} such connections from one address and ${count(MAX_UNAUTHENTICATED)} in all)`,
  ],
  ["security.md", `${mib(MAX_CONTROL_FRAME_BYTES)} for control, ${mib(MAX_PAYLOAD_BYTES)} for batches`],
];

test.each(FIGURES)("docs/%s says: %s", (document, sentence) => {
  const text = readFileSync(path.join(ROOT, "docs", document), "utf8").replace(/\s+/g, " ");
  expect(text).toContain(sentence.replace(/\s+/g, " "));
});
