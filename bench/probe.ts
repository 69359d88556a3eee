/** The smallest submission: a program that does nothing. Its answer comes after its record is on the disk. */
import type { ClusterClient } from "../src/cli/client/cluster-client.js";

export async function submitProbe(client: ClusterClient, key: string): Promise<string> {
  const { id } = await client.call("submit", {
    key,
    spec: {
      name: "probe",
      kind: "process",
      deployMode: "cluster",
      supervise: false,
      restart: { maxRestarts: 0, windowMs: 1000, minBackoffMs: 0, maxBackoffMs: 0 },
      driver: { cores: 0, memoryBytes: 64 * 1024 * 1024 },
      job: null,
      process: { argv: ["true"], env: {}, cwd: null },
    },
  });
  return id;
}
