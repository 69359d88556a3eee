/** The table of operations is the whole contract: each one has an answer, refuses bad input by field, and is closed to those who may not ask. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CodedError } from "../../../src/base/errors.js";
import type { Link } from "../../../src/host/link/link.js";
import { dialLink } from "../../../src/host/link/link-handshake.js";
import { applicationKeyHex } from "../../../src/host/link/link-keys.js";
import { OPERATIONS, type OperationInput, type OperationName } from "../../../src/wire/operations.js";
import { programSpec } from "../master/harness.js";
import { type MasterStage, never, openMasterStage, type StagedMaster } from "./master-stage.js";

type MasterOperation = Exclude<OperationName, "logs.read">;
const SHA256 = "a".repeat(64);

/** Input that is valid; a change that is not, and the field it is in; and how the valid one is answered: null, or the error's code. */
const CASES: {
  readonly [N in MasterOperation]: {
    readonly input: OperationInput<N>;
    readonly bad: object;
    readonly field: string;
    readonly code: string | null;
  };
} = {
  "artifact.put": {
    input: { sha256: SHA256, offset: 0, totalBytes: 2, base64: "aGk=" },
    bad: { sha256: "../../etc/passwd" },
    field: "sha256",
    code: "ARTIFACT_CORRUPT",
  },
  "artifact.get": { input: { sha256: SHA256, offset: 0 }, bad: { offset: -1 }, field: "offset", code: "NOT_FOUND" },
  submit: {
    input: { key: "k", spec: programSpec() },
    bad: { spec: programSpec({ driver: { cores: -1, memoryBytes: 1 } }) },
    field: "spec.driver.cores",
    code: null,
  },
  status: {
    input: { application: "app-9-9", after: null, waitMs: 0 },
    bad: { waitMs: 1e9 },
    field: "waitMs",
    code: "NOT_FOUND",
  },
  list: { input: {}, bad: [], field: "its input", code: null },
  cancel: { input: { application: "app-9-9" }, bad: { application: "a b" }, field: "application", code: "NOT_FOUND" },
  forget: { input: { application: "app-9-9" }, bad: { application: "a b" }, field: "application", code: "NOT_FOUND" },
  checkpoints: { input: { application: "app-9-9" }, bad: { application: "" }, field: "application", code: "NOT_FOUND" },
  checkpoint: {
    input: { application: "app-9-9", key: "k", savepoint: null },
    bad: { savepoint: { directory: "", stop: true } },
    field: "savepoint.directory",
    code: "NOT_FOUND",
  },
  resume: {
    input: { application: "app-9-9", choice: { kind: "fresh" } },
    bad: { choice: { kind: "checkpoint", id: 2 ** 53 } },
    field: "choice.id",
    code: "NOT_FOUND",
  },
  cluster: { input: {}, bad: [], field: "its input", code: null },
  workers: { input: {}, bad: [], field: "its input", code: null },
  drain: { input: { worker: "w1" }, bad: { worker: 7 }, field: "worker", code: "NOT_FOUND" },
  handover: { input: { epoch: 1, to: null }, bad: { epoch: 0 }, field: "epoch", code: "NO_STANDBY" },
  gone: { input: { worker: "w1" }, bad: { worker: "" }, field: "worker", code: "NOT_FOUND" },
  removals: { input: { decision: "hold" }, bad: { decision: "stop" }, field: "decision", code: null },
  events: { input: { after: null, limit: 10, waitMs: 0 }, bad: { limit: 1e6 }, field: "limit", code: null },
  "logs.locate": { input: { application: "app-9-9" }, bad: { application: "" }, field: "application", code: "NOT_FOUND" },
};
const NAMES = Object.keys(OPERATIONS).filter((name): name is MasterOperation => name !== "logs.read");

let stage: MasterStage;
let master: StagedMaster;
const links: Link[] = [];

beforeAll(async () => {
  stage = openMasterStage();
  master = await stage.master("m1");
  await stage.until("it leads", () => master.host.state() === "ALIVE");
});
afterAll(async () => {
  for (const link of links) link.close();
  await stage.close();
});

async function open(role: "client" | "worker" | "driver" | "master", application?: string): Promise<Link> {
  if (application === undefined) {
    const link = await stage.link(master.address, role, `${role}-${links.length}`);
    links.push(link);
    return link;
  }
  const key = Buffer.from(applicationKeyHex(stage.env.digest, null, application), "hex");
  const link = await stage.drive(
    dialLink(master.address, {
      env: stage.env,
      epoch: () => 0,
      role,
      id: `${role}-${links.length}`,
      scope: `application/${application}`,
      key,
      clusterId: null,
      incoming: {},
      heartbeatMs: 1_000,
      silenceMs: 10_000,
      connectTimeoutMs: 1_000,
      signal: never,
    }),
  );
  links.push(link);
  return link;
}

const codeOf = (link: Link, name: string, body: unknown): Promise<{ readonly code: string | null; readonly message: string }> =>
  stage.drive(
    link.request(name, body, { signal: never, timeoutMs: 5_000 }).then(
      () => ({ code: null, message: "" }),
      (error: CodedError) => ({ code: error.code as string, message: error.message }),
    ),
  );

describe.each(NAMES)("%s", (name) => {
  test("is answered by the leading master", async () => {
    const client = await open("client");
    const { output } = OPERATIONS[name];
    const { code } = await codeOf(client, name, CASES[name].input);
    expect(code).toBe(CASES[name].code);
    if (code !== null) return;
    const body = await stage.drive(client.request(name, CASES[name].input, { signal: never, timeoutMs: 5_000 }));
    expect(output.safeParse(body).error).toBeUndefined();
  });

  test("refuses bad input with INVALID_ARGUMENT and the name of the field, and the link goes on", async () => {
    const client = await open("client");
    const { input, bad, field } = CASES[name];
    const refused = await codeOf(client, name, Array.isArray(bad) ? bad : { ...input, ...bad });
    expect(refused).toEqual({ code: "INVALID_ARGUMENT", message: expect.stringContaining(`${name}: ${field}: `) });
    expect((await codeOf(client, "cluster", {})).code).toBeNull();
  });

  test("is forbidden to workers (but for bundles), standbys (but for the view) and drivers, which hold only an application's key", async () => {
    const strangers = [
      { link: await open("worker"), may: name === "artifact.get" },
      { link: await open("master"), may: name === "cluster" },
      { link: await open("driver", "app-9-9"), may: false },
    ];
    for (const { link, may } of strangers) {
      const { code } = await codeOf(link, name, CASES[name].input);
      expect(`${link.id} ${code === "FORBIDDEN"}`).toBe(`${link.id} ${!may}`);
    }
  });
});

test("the operation that workers answer is not known to masters", async () => {
  const client = await open("client");
  const input = { processId: "app-1-1.d1", stream: "stdout", offset: 0, limitBytes: 1, waitMs: 0 };
  expect((await codeOf(client, "logs.read", input)).code).toBe("CONNECTION_LOST");
  expect(Object.entries(OPERATIONS).filter(([, { answeredBy }]) => answeredBy === "worker")).toHaveLength(1);
});

test("whoever holds only an application's key cannot say that it is a client or a worker, nor a driver that it is of the cluster", async () => {
  for (const [role, application] of [
    ["client", "app-9-9"],
    ["worker", "app-9-9"],
    ["driver", undefined],
  ] as const)
    await expect(open(role, application)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
});
