/**
 * The entry of the program `holdfast`: nothing but the choice between the commands (program.ts) and the parent that watches over a master
 * (supervisor.ts), so that the parent loads only what it needs: it has to start fast and to stay small.
 */
import { hidePasswords } from "./password-on-command-line.js";
import { wantsSupervisor } from "./supervisor/supervisor-line.js";

if (wantsSupervisor(process.argv.slice(2), process.env)) {
  hidePasswords(process.argv);
  const { superviseMaster } = await import("./supervisor/supervisor.js");
  process.exitCode = await superviseMaster(process.argv.slice(1));
} else {
  await import("./program.js");
}
