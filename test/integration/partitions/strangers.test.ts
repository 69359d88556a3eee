/** Processes that do not belong to the cluster and come near it: another secret on one machine, another cluster on the same path. */
import { expect } from "vitest";
import { createSecretFile } from "../../../src/node/files/secret-file.js";
import type { Fault } from "../../chaos/faults/fault.js";
import { until } from "../../support/holdfast.js";
import type { ClusterProcess } from "../../support/process-cluster.js";
import { onMachines } from "./arena.js";

const HOLD_MS = 1_000;

onMachines("strangers", ({ arena, round }) => {
  const strangerSecret = async (): Promise<string> => {
    const file = arena().machines.cluster.file(`another-secret-${arena().ledger.done}`);
    await createSecretFile(file);
    return file;
  };

  /** A process that is started beside the cluster, has to say the sentence, and is ended again. */
  const stranger = (name: string, start: (secretFile: string) => ClusterProcess, says: RegExp): Fault => ({
    name,
    reach: "control",
    begin: async () => {
      const process = start(await strangerSecret());
      await until(`${name} to be refused`, () => says.test(process.log()));
      const end = async () => {
        process.signal("SIGKILL");
        await process.exited;
      };
      return { what: `${process.name} was refused`, end };
    },
  });

  round("a worker with another secret is refused and says so; nothing is placed on it", {
    fault: stranger(
      "a worker with another secret",
      (secretFile) => {
        const { machines } = arena();
        return machines.cluster.startWorker("worker-stranger", {
          ...{
            master: machines.masterUrl,
            listen: `${machines.network.host("w1").address}:0`,
            prefix: machines.network.host("w1").prefix,
          },
          args: ["--secret-file", secretFile, "--plaintext"],
        });
      },
      /UNAUTHENTICATED/,
    ),
    holdMs: HOLD_MS,
    leadership: "stays",
    meanwhile: async ({ machines }) => expect((await machines.view()).workers.alive).toBe(3),
  });

  round("a master of another cluster on the same path is refused and says so; it never leads", {
    fault: stranger(
      "a master of another cluster",
      (secretFile) => {
        const { machines } = arena();
        return machines.cluster.startMaster("master-stranger", {
          ...{
            listen: `${machines.network.host("m1").address}:7078`,
            recovery: machines.recovery,
            prefix: machines.network.host("m1").prefix,
          },
          args: ["--secret-file", secretFile, "--plaintext", "--storage", `file:${machines.cluster.file("blobs")}`],
        });
      },
      /WRONG_CLUSTER/,
    ),
    holdMs: HOLD_MS,
    leadership: "stays",
  });
});
