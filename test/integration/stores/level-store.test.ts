/** LevelDB as coordination store: the conformance suite on real files. Processes and disks: level-processes.test.ts, level-disk.test.ts. */
import { coordinationStoreSuite } from "../../../src/conformance/coordination-store.js";
import { openedFaulty } from "../../unit/coordination/opened-stores.js";
import { openLevel, temporaryDirectory, testLevelStore } from "./level-support.js";

coordinationStoreSuite({ name: "LevelDB", open: openLevel, supports: { reopen: true, faults: false } });

coordinationStoreSuite({
  name: "LevelDB behind faults",
  open: async () => {
    const directory = await temporaryDirectory();
    return openedFaulty(testLevelStore(directory.path), directory.remove);
  },
  supports: { reopen: false, faults: true },
});
