/** A worker's process for the tests: opens a launcher on a directory, launches what it is told to (arguments, then lines), and waits to be killed. */
import { createInterface } from "node:readline";
import { createProcessLauncher } from "../../../src/node/processes/process-launcher.js";
import { realClock, silentLog } from "./launcher-clock.js";

const [workDirectory = "", specs = "[]", more = "{}"] = process.argv.slice(2);
const launcher = createProcessLauncher({
  workDirectory,
  runnerPath: "/nowhere",
  clock: realClock,
  log: { ...silentLog, debug: (message) => process.stdout.write(`${message}\n`) },
  ...JSON.parse(more),
});
setInterval(() => launcher.renewLease(), 1_000);
for (const spec of JSON.parse(specs)) await launcher.launch(spec);
createInterface({ input: process.stdin }).on("line", (line) => void launcher.launch(JSON.parse(line)));
process.stdout.write("launched\n");
