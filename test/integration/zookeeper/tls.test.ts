/** TLS with client certificates, on the secure port of a real server. */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { askFourLetterWord } from "../../../src/zookeeper/index.js";
import { waitFor } from "../../support/wait-for.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { makeCertificates, type ZooKeeperCertificates } from "../../support/zookeeper-certificates.js";
import { bytes, clientsOf, text } from "./clients.js";

let folder: string;
let certificates: ZooKeeperCertificates;
let ensemble: ZooKeeperServers;
const secure = (host = "127.0.0.1") => `${host}:${ensemble.servers[0]?.securePort ?? 0}`;
const clients = clientsOf(secure);

beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "holdfast-zookeeper-tls-"));
  certificates = await makeCertificates(folder);
  ensemble = await startZooKeeper({ tls: certificates.server });
});
afterAll(async () => {
  await ensemble.close();
  await rm(folder, { recursive: true, force: true });
});

test("a client with a certificate of the authority is served, and known by it", async () => {
  const tls = { ca: certificates.ca, ...certificates.client };
  for (const host of ["127.0.0.1", "localhost"]) {
    const { zk } = await clients.connect({ servers: secure(host), tls });
    await zk.create(`/over-tls-${host}`, bytes("x"), { acl: [{ permissions: ["read", "admin"], scheme: "auth", id: "" }] });
    expect(text((await zk.getData(`/over-tls-${host}`)).data)).toBe("x");
    expect((await zk.getAcl(`/over-tls-${host}`)).acl).toMatchObject([{ scheme: "x509", id: "CN=client" }]);
  }
  expect(await askFourLetterWord(secure(), "ruok", { tls })).toBe("imok");
});

test.each([
  ["a certificate of another authority", () => ({ ca: certificates.ca, ...certificates.stranger })],
  ["no certificate", () => ({ ca: certificates.ca })],
])("a client with %s gets no session", async (_, tls) => {
  await refusals(clients.create({ tls: tls() }));
});

test("a server that the client does not trust, or that has another name, is told nothing, and why is said", async () => {
  const { client } = certificates;
  expect(await refusals(clients.create({ tls: { ...client } }))).toMatch(/certificate/);
  const misnamed = { ca: certificates.ca, ...client, servername: "other.example" };
  expect(await refusals(clients.create({ tls: misnamed }))).toMatch(/other\.example/);
});

test("a client without TLS on a secure port, and one with TLS on a plain port, get no session and try on", async () => {
  await refusals(clients.create());
  await refusals(clients.create({ servers: ensemble.connectString, tls: { ca: certificates.ca }, connectTimeoutMs: 500 }));
});

/** It tries, is refused each time, and says why. */
async function refusals({ zk, states }: ReturnType<typeof clients.create>): Promise<string> {
  await waitFor(() => states.length >= 3);
  expect(states.every(({ state }) => state === "connecting")).toBe(true);
  expect(zk.session()).toBeUndefined();
  return states.map((event) => (event.state === "connecting" ? event.reason.message : "")).join("\n");
}
