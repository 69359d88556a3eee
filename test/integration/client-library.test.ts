import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { keysOfCluster } from "../../src/host/link/link-keys.js";
import { listenLinks } from "../../src/host/link/link-listener.js";
import { connect } from "../../src/node/client.js";
import { createNodeEnv } from "../../src/node/env.js";
import { createSecretFile, readSecretFile } from "../../src/node/files/secret-file.js";
import { OPERATIONS } from "../../src/wire/operations.js";

const env = createNodeEnv({ log: { debug() {}, info() {}, warn() {}, error() {} } });
let folder = "";
let secretFile = "";

beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "holdfast-client-"));
  secretFile = path.join(folder, "secret");
  await createSecretFile(secretFile);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function master(state: string) {
  const secret = await readSecretFile(secretFile);
  return listenLinks({
    env,
    address: "127.0.0.1:0",
    epoch: () => 1,
    incoming: {},
    requests: { list: OPERATIONS.list.input },
    heartbeatMs: 100,
    silenceMs: 1_000,
    role: "master",
    id: "m1",
    clusterId: () => "c1",
    keyFor: keysOfCluster(env.digest, secret),
    roles: ["client"],
    facts: () => ({ state, leader: null }),
    onLink: (link) => link.onMessage((message) => link.reply(message.requestId as number, { applications: [] })),
  });
}

describe("the client library", () => {
  test("finds the leader by a file that is read anew, with the secret of a file, and goes on when the master comes back on another port", async () => {
    const masters = path.join(folder, "masters");
    const first = await master("ALIVE");
    await writeFile(masters, `${first.address} # m1\n`);
    const client = await connect({ master: `file://${masters}`, secretFile, timeoutMs: 60_000 });
    expect(await client.call("list", {})).toEqual({ applications: [] });
    await first.close();
    const second = await master("ALIVE");
    await writeFile(masters, `${second.address} # m1\n`);
    const other = await connect({ master: `file://${masters}`, secretFile, timeoutMs: 60_000 });
    expect(await other.call("list", {})).toEqual({ applications: [] });
    await client.close();
    await other.close();
    await second.close();
  });

  test("says within its time that no master answers, and at once that the secret is wrong", async () => {
    const standby = await master("STANDBY");
    const error = connect({ master: standby.address, secretFile, timeoutMs: 300 });
    await expect(error).rejects.toMatchObject({ code: "NO_MASTER", message: expect.stringContaining("is a standby") });
    const started = performance.now();
    await expect(connect({ master: standby.address, timeoutMs: 60_000 })).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    expect(performance.now() - started, "not the whole time that it may look for a leader").toBeLessThan(30_000);
    await standby.close();
    await expect(connect({ master: "nonsense://x" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
