/** The conformance suite over the backends that need no file and no process. */
import { coordinationStoreSuite } from "../../../src/conformance/coordination-store.js";
import { openFaultyMemory, openMemory } from "./opened-stores.js";

coordinationStoreSuite({ name: "memory", open: openMemory, supports: { reopen: true, faults: false } });
coordinationStoreSuite({ name: "memory behind faults", open: openFaultyMemory, supports: { reopen: false, faults: true } });
