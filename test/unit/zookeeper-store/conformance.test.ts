/** The conformance suite on a fake ensemble: undisturbed, with a connection that breaks all the time, and behind faults. */
import { coordinationStoreSuite } from "../../../src/conformance/coordination-store.js";
import { openedFaulty } from "../coordination/opened-stores.js";
import type { Call, Fate } from "./fake-ensemble.js";
import { fakeStore, openedFake, openFake } from "./fake-stores.js";

coordinationStoreSuite({ name: "a fake ZooKeeper", open: openFake, supports: { reopen: true, faults: false } });

coordinationStoreSuite({
  name: "a fake ZooKeeper behind faults",
  open: async () => openedFaulty(fakeStore(), async () => {}),
  supports: { reopen: false, faults: true },
});

coordinationStoreSuite({
  name: "a fake ZooKeeper whose connections break before and after each third commit was applied",
  open: async () =>
    openedFake((tree) => {
      let multis = 0;
      tree.fate = ({ kind }: Call): Fate => {
        if (kind !== "multi" || ++multis % 3 !== 0) return undefined;
        return multis % 2 === 0 ? "lost-before" : "lost-after";
      };
    }),
  supports: { reopen: true, faults: false },
});
