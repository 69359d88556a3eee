/** A whole worker as a process of its own: `node child.mjs WORK_DIRECTORY MASTER_URL`. SIGTERM: ends and leaves its processes. */
import { runWorkerHost } from "../../../src/host/worker/worker-host.js";
import { createNodeEnv } from "../../../src/node/env.js";
import { createProcessLauncher } from "../../../src/node/processes/process-launcher.js";
import { openWorkDirectory } from "../../../src/node/processes/process-work-directory.js";
import { silentLog } from "./launcher-clock.js";

const [workDirectory = "", masterUrl = ""] = process.argv.slice(2);
const env = createNodeEnv({ log: silentLog });
try {
  const files = await openWorkDirectory(workDirectory);
  const launcher = createProcessLauncher({ workDirectory, runnerPath: "/nowhere", clock: env.clock, log: env.log });
  const worker = await runWorkerHost({
    env,
    launcher,
    files,
    masterUrl,
    readFile: async () => "",
    listenAddress: "127.0.0.1:0",
    secret: null,
    resources: { cores: 2, memoryBytes: 2 ** 30 },
    pid: process.pid,
  });
  setInterval(() => {}, 1_000);
  process.on("SIGTERM", async () => {
    await worker.close({ leave: true });
    await files.close();
    process.exit(0);
  });
} catch (thrown) {
  process.stderr.write(`${thrown instanceof Error ? thrown.message : thrown}\n`);
  process.exit(1);
}
