/** A cluster that other machines reach: on this machine's own address, with the secret of a file, authenticated and in plain text. */
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect } from "vitest";
import { holdfast, until } from "../../support/holdfast.js";
import { expectBuckets, jobFile, jobWords, type Stage, scenario } from "../../support/scenario.js";

const OWN_ADDRESS = Object.values(os.networkInterfaces())
  .flatMap((list) => list ?? [])
  .find((one) => one.family === "IPv4" && !one.internal)?.address;
if (OWN_ADDRESS === undefined) console.log("skipped, because this machine has only loopback addresses: a cluster with a secret");

interface Status {
  readonly state: string;
  readonly driver: { readonly pid: number | null } | null;
  readonly executors: readonly { readonly pid: number | null; readonly state: string }[];
}

async function secretFile(stage: Stage, name: string): Promise<string> {
  const file = stage.cluster.file(name);
  expect(await holdfast(["secret", file])).toMatchObject({ exitCode: 0 });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  return file;
}

scenario(
  "a cluster on an address that others reach runs jobs on that address only, and only with its secret, which is nowhere to be read",
  async (stage) => {
    const host = OWN_ADDRESS ?? "";
    const file = await secretFile(stage, "secret");
    const secret = readFileSync(file, "utf8").trim();
    const open = ["--secret-file", file, "--plaintext"];
    const refusedListen = stage.master({ listen: `${host}:0`, args: ["--secret-file", file] });
    expect(await refusedListen.exited).toBe(2);
    expect(refusedListen.log()).toMatch(/INSECURE_LISTEN/);

    const master = stage.master({ listen: `${host}:0`, args: [...open, "--log-level", "debug"] });
    const worker = stage.worker({ cores: 4, listen: `${host}:0`, args: [...open, "--log-level", "debug"] });
    const env = { HOLDFAST_SECRET_FILE: file };
    const status = async (id: string): Promise<Status> =>
      JSON.parse((await stage.command(["status", id, "--json"], { env })).stdout) as Status;
    await until("the worker", async () => /"alive":1/.test((await stage.command(["cluster", "--json"], { env })).stdout));

    // A job: the driver and its executors are reached at the worker's address, and listen nowhere else.
    const output = stage.cluster.file("out");
    const job = stage.start(
      [
        "submit",
        jobFile("buckets"),
        "--id",
        "job",
        "--wait",
        "--json",
        ...jobWords({ params: { count: 6_000, rate: 2_000, hold: stage.cluster.file("gate"), output } }),
      ],
      { env },
    );
    await until("its executors", async () => {
      const view = existsSync(output) ? await status("job") : null;
      return view?.executors.filter((one) => one.state === "running" && one.pid !== null).length === 2;
    });
    const { driver, executors } = await status("job");
    const pids = [driver?.pid, ...executors.map(({ pid }) => pid), master.servingPid(), worker.pid];
    for (const pid of pids) expect(listening(pid ?? 0), `addresses of ${pid}`).toEqual([host]);
    for (const pid of [...pids, master.pid]) expect(seenOf(pid ?? 0)).not.toContain(secret);

    // A program, which tells its whole environment.
    const told = await stage.command(
      ["submit", "--id", "env", "--wait", "--", "sh", "-c", "env; tr '\\0' ' ' </proc/$PPID/cmdline"],
      {
        env,
      },
    );
    expect(told.exitCode).toBe(0);
    const logs = await stage.command(["logs", "env"], { env });
    expect(logs).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("HOLDFAST_APPLICATION=") });
    expect(logs.stdout).not.toContain(secret);
    stage.openGate();
    expect(await job.ended).toMatchObject({ exitCode: 0 });
    expectBuckets(output, 6_000);

    // Without the secret, or with another one, nothing is answered, by masters and workers alike.
    const other = await secretFile(stage, "other-secret");
    for (const wrong of ["", other]) {
      const address = /listens at (\S+:[0-9]+)/.exec(master.log())?.[1] ?? "";
      const refused = await stage.command(["list", "--master", address], { env: { HOLDFAST_SECRET_FILE: wrong } });
      expect(refused).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("UNAUTHENTICATED") });
    }
    const stranger = stage.worker({ cores: 1, args: ["--secret-file", other] });
    await until("the stranger to be told", () => /UNAUTHENTICATED/.test(stranger.log()));
    expect((await stage.command(["cluster", "--json"], { env })).stdout).toMatch(/"alive":1,"suspect":0/);

    expect(master.log() + worker.log()).not.toContain(secret);
    // In no file but its own, and what lies in the work directory is for its owner only.
    const work = stage.cluster.file("worker-1");
    expect(statSync(work).mode & 0o077).toBe(0);
    for (const [name, text] of [...filesIn(work), ...filesIn(stage.cluster.file("state"))])
      expect(text.includes(secret), name).toBe(false);
  },
  { skip: OWN_ADDRESS === undefined },
);

/** Addresses on which a process listens. */
function listening(pid: number): readonly string[] {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[([0-9]+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return [];
      }
    }),
  );
  const rows = readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/));
  const addresses = rows
    .filter((row) => row[3] === "0A" && inodes.has(row[9] ?? ""))
    .map((row) => [...Buffer.from((row[1] ?? "").slice(0, 8), "hex")].reverse().join("."));
  return [...new Set(addresses)];
}

/** What every user of the machine may see of a process, and what it hands on. */
const seenOf = (pid: number): string => readFileSync(`/proc/${pid}/cmdline`, "utf8") + readFileSync(`/proc/${pid}/environ`, "utf8");

function filesIn(directory: string): readonly (readonly [string, string])[] {
  return (readdirSync(directory, { recursive: true }) as string[])
    .map((name) => path.join(directory, name))
    .filter((file) => existsSync(file) && statSync(file).isFile())
    .map((file) => [file, readFileSync(file, "latin1")]);
}
