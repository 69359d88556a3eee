/** Strangers: bytes that nobody asked for on every port of a running cluster, wrong secrets, and settings that would let strangers in. */
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { expect } from "vitest";
import { encodeFrame } from "../../../src/wire/frames.js";
import { until } from "../../support/holdfast.js";
import { listeningPorts, readProc, residentBytes, type Stage, scenario } from "../../support/scenario.js";

const MAX_GROWTH_BYTES = 20 * 1024 * 1024;
const SLOW_CONNECTIONS = 10;
/** Whoever says one byte a second is thrown out long before it gives up by itself. */
const SLOW_PATIENCE_MS = 30_000;
const SERVED_WITHIN_MS = 10_000;

async function withSecret(stage: Stage, file = "secret"): Promise<string> {
  const secretFile = stage.cluster.file(file);
  expect((await stage.command(["secret", secretFile])).exitCode).toBe(0);
  return secretFile;
}

/** Reproducible bytes. */
function randomBytes(seed: number): (count: number) => Buffer {
  let state = seed;
  return (count) => {
    const bytes = Buffer.alloc(count);
    for (let i = 0; i < count; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      bytes[i] = state >>> 24;
    }
    return bytes;
  };
}

/** Sends the chunks, reads nothing, and resolves when the other side has closed, or after `keepMs`. */
function attack(
  port: number,
  chunks: readonly Buffer[],
  options: { readonly keepMs?: number; readonly everyMs?: number } = {},
): Promise<number> {
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    let sending = 0;
    const timers: NodeJS.Timeout[] = [setTimeout(() => socket.destroy(), options.keepMs ?? 300)];
    const next = () => {
      const chunk = chunks[sending % chunks.length];
      if (socket.destroyed || chunk === undefined) return;
      if (sending >= chunks.length && options.everyMs === undefined) return;
      sending += 1;
      socket.write(chunk);
      timers.push(setTimeout(next, options.everyMs ?? 0));
    };
    socket.on("connect", next);
    socket.on("error", () => {});
    socket.resume();
    socket.on("close", () => {
      for (const timer of timers) clearTimeout(timer);
      resolve(performance.now() - startedAt);
    });
  });
}

const json = (value: unknown): Buffer =>
  Buffer.from(encodeFrame(new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value))));
const header = (length: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  return bytes;
};

async function storm(port: number, seed: number): Promise<void> {
  const random = randomBytes(seed + port);
  const hello = {
    kind: "hello",
    protocol: 1,
    clusterId: null,
    role: "worker",
    id: "worker-evil",
    scope: "cluster",
    epoch: 9_999_999,
    nonce: "0".repeat(32),
    facts: {},
    proof: "f".repeat(64),
  };
  const attacks: (readonly Buffer[])[] = [
    [Buffer.from("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")],
    [header(0xffffffff), Buffer.alloc(64 * 1024)],
    [header(16 * 1024 * 1024), ...Array.from({ length: 64 }, () => Buffer.alloc(64 * 1024))],
    [header(8_000), Buffer.alloc(100)],
    [json(hello)],
    [json({ ...hello, role: "master", facts: { leader: "127.0.0.1:1" } })],
    [json({ ...hello, protocol: 2 }), json({ kind: "cancel", application: "app-1-1" })],
    [json('{"__proto__":{"kind":"hello"},"constructor":1}')],
    [json("[".repeat(7_000))],
    [json({ kind: "submit", body: { key: "k", spec: {} } })],
    [json(""), json("null"), json("7")],
    ...Array.from({ length: 30 }, (_, size) => [random(1 + size * 997)]),
    ...Array.from({ length: 10 }, () => [header(1 + (random(1)[0] ?? 0)), random(300)]),
  ];
  for (let at = 0; at < attacks.length; at += 10)
    await Promise.all(attacks.slice(at, at + 10).map((chunks) => attack(port, chunks)));
}

scenario(
  "garbage, oversized, truncated and slow bytes on every port: the state is unchanged, memory flat, and everybody is served",
  async (stage) => {
    stage.secretFile = await withSecret(stage);
    stage.masters(2);
    stage.workers(2);
    await stage.valid(2, 2);
    const [program, job] = await Promise.all([stage.ticker(), stage.slowJob("out", 1_000_000, 200)]);
    const targets = await listeners(stage, job);
    expect(new Set(targets.map(({ role }) => role))).toEqual(new Set(["master", "worker", "driver", "executor"]));
    const snapshot = async () => ({
      applications: (await (await stage.client()).call("list", {})).applications,
      workers: (await stage.workerViews()).map(({ id, state, incarnation, cores }) => ({ id, state, incarnation, cores })),
      cluster: await stage
        .valid(2, 2)
        .then(({ epoch, leader, masters, workers, applications }) => ({ epoch, leader, masters, workers, applications })),
      footprints: [await stage.footprint(program), await stage.footprint(job)],
    });
    const before = await snapshot();
    // The first storm warms up what handles errors, so that only growth is measured.
    for (const { port } of targets) await storm(port, 1);
    const sizes = new Map(targets.map(({ pid }) => [pid, residentBytes(pid)]));
    const slow = targets.flatMap(({ port }) =>
      Array.from({ length: SLOW_CONNECTIONS }, () =>
        attack(port, [Buffer.from([0])], { everyMs: 1_000, keepMs: SLOW_PATIENCE_MS }),
      ),
    );
    for (let round = 2; round <= 4; round++) {
      for (const { port } of targets) {
        await storm(port, round);
        const startedAt = performance.now();
        await (await stage.client()).call("list", {});
        expect(performance.now() - startedAt, "an honest question meanwhile").toBeLessThan(SERVED_WITHIN_MS);
      }
    }
    for (const lastedMs of await Promise.all(slow)) expect(lastedMs).toBeLessThan(SLOW_PATIENCE_MS);
    for (const { pid, role } of targets)
      expect(residentBytes(pid) - (sizes.get(pid) ?? 0), `growth of ${role} ${pid}`).toBeLessThan(MAX_GROWTH_BYTES);
    expect(await snapshot()).toEqual(before);
    await stage.usable("after");
  },
  { timeoutMs: 120_000 },
);

interface Target {
  readonly role: string;
  readonly pid: number;
  readonly port: number;
}

async function listeners(stage: Stage, job: string): Promise<readonly Target[]> {
  const view = await stage.status(job);
  const { masters } = await stage.view();
  const roles = [
    ...masters.map(({ pid }) => ({ role: "master", pid })),
    ...(await stage.workerViews()).map(({ pid }) => ({ role: "worker", pid })),
    { role: "driver", pid: view.driver?.pid ?? 0 },
    ...view.executors.map(({ pid }) => ({ role: "executor", pid: pid ?? 0 })),
  ];
  return roles.flatMap(({ role, pid }) => listeningPorts(pid).map((port) => ({ role, pid, port })));
}

scenario("whoever has no secret, or another one, is told so and changes nothing", async (stage) => {
  stage.secretFile = await withSecret(stage);
  const other = await withSecret(stage, "other");
  stage.master();
  stage.worker();
  await stage.valid(1, 1);
  for (const file of ["", other]) {
    const env = { HOLDFAST_SECRET_FILE: file };
    for (const words of [["list"], ["submit", "--", "true"], ["cluster"]] as const) {
      const ran = await stage.command([words[0], "--timeout", "5s", ...words.slice(1)], { env });
      expect(ran).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("[UNAUTHENTICATED]") });
    }
  }
  const stranger = stage.cluster.startWorker("worker-stranger", { args: ["--secret-file", other] });
  await until("the stranger to be told", () => /UNAUTHENTICATED/.test(stranger.log()));
  expect(await (await stage.client()).call("list", {})).toEqual({ applications: [] });
  await stage.valid(1, 1);
});

scenario(
  "the secret is in no log, file, command line or environment of the cluster, and user code cannot see where it is",
  async (stage) => {
    stage.secretFile = await withSecret(stage);
    const hex = readFileSync(stage.secretFile, "utf8").trim();
    const forms = [
      hex,
      Buffer.from(hex, "hex").toString("base64"),
      Buffer.from(hex, "hex").toString("base64url"),
      hex.toUpperCase(),
    ];
    expect(statSync(stage.secretFile).mode & 0o777).toBe(0o600);
    stage.master({ args: ["--log-level", "debug"] });
    stage.worker({
      cores: 4,
      args: ["--log-level", "debug"],
      env: { HOLDFAST_SECRET_FILE: stage.secretFile, SECRET_TOKEN: "of-the-worker" },
    });
    await stage.valid(1, 1);
    const job = await stage.slowJob("out", 100_000, 200);
    const program = await stage.program(["sh", "-c", "env; ls -l /proc/self/fd; exec sleep 100"]);
    await stage.runs(program);
    for (const line of stage.cluster.leftovers()) {
      const [pid = ""] = line.split(" ");
      const text = readProc(pid, "environ") + readProc(pid, "cmdline");
      for (const form of forms) expect(text.includes(form), line).toBe(false);
    }
    for (const [application, processes] of [
      [job, stage.processesOf(job)],
      [program, stage.processesOf(program)],
    ] as const) {
      expect(processes.length, application).toBeGreaterThan(0);
      for (const process of processes) expect(readProc(process.split(" ")[0] ?? "", "environ")).not.toMatch(/SECRET/);
    }
    await until("the program to have printed its environment", async () =>
      (await stage.command(["logs", program])).stdout.includes("HOLDFAST_PROCESS"),
    );
    expect((await stage.command(["logs", program])).stdout).not.toMatch(/SECRET|secret/);
    for (const id of [job, program]) expect((await stage.command(["cancel", id])).exitCode).toBe(0);
    const files = (readdirSync(stage.cluster.directory, { recursive: true }) as string[])
      .map((name) => stage.cluster.file(name))
      .filter((file) => file !== stage.secretFile && statSync(file).isFile());
    expect(files.length).toBeGreaterThan(10);
    for (const file of files) {
      const bytes = readFileSync(file);
      for (const form of [...forms, Buffer.from(hex, "hex")]) expect(bytes.includes(form), file).toBe(false);
    }
  },
);

scenario(
  "an address that others reach is refused without a secret, and without --plaintext; a secret that others may read is not used",
  async (stage) => {
    const secret = await withSecret(stage);
    const master = (...words: readonly string[]) =>
      stage.command(["master", "--recovery", "none", ...words], { timeoutMs: 10_000 });
    const open = ["--listen", "0.0.0.0:0"];
    expect(await master(...open)).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/without a cluster secret.*\[INSECURE_LISTEN\]/),
    });
    expect(await master(...open, "--plaintext")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("[INSECURE_LISTEN]"),
    });
    expect(await master(...open, "--secret-file", secret)).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/not encrypted.*\[INSECURE_LISTEN\][\s\S]*--plaintext/),
    });
    const worker = await stage.command(["worker", ...open, "--work-dir", stage.cluster.file("place")], { timeoutMs: 10_000 });
    expect(worker).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("[INSECURE_LISTEN]") });
    const allowed = stage.start(["master", "--recovery", "none", ...open, "--secret-file", secret, "--plaintext"]);
    await until("it to listen", () => /listening on/.test(allowed.stderr()));
    allowed.signal("SIGTERM");
    expect(await allowed.ended).toMatchObject({ exitCode: 0 });

    for (const mode of [0o644, 0o640, 0o602]) {
      chmodSync(secret, mode);
      const ran = await master("--listen", "127.0.0.1:0", "--secret-file", secret);
      expect(ran).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/others.*\[INSECURE_SECRET\][\s\S]*chmod 600/) });
      expect((await stage.command(["list", "--secret-file", secret])).exitCode).toBe(2);
    }
    const guessed = path.join(stage.cluster.directory, "guessed");
    writeFileSync(guessed, "hunter2\n", { mode: 0o600 });
    expect(await master("--listen", "127.0.0.1:0", "--secret-file", guessed)).toMatchObject({ exitCode: 2 });
    expect((await stage.command(["secret", guessed])).exitCode).toBe(4);
    expect(readFileSync(guessed, "utf8")).toBe("hunter2\n");
  },
);
