/** `--master` of all commands: how masters are looked up, and which of its texts a log must never show. */
import { secretsOf, type ZooKeeperUrl } from "../../coordination/zookeeper-url.js";
import type { Clock } from "../../env/clock.js";
import type { OpenRegistry } from "../../host/finding/master-places.js";
import { parseMasterUrl, readMasterFile } from "../../host/finding/master-url.js";
import { readUrlFile } from "../../node/files/url-file.js";
import { createZooKeeperRegistry } from "../../node/zookeeper-store/registry.js";

export const openRegistry =
  (clock: Clock): OpenRegistry =>
  (url) =>
    createZooKeeperRegistry(url, { clock });

/** What a log must never show. Throws INVALID_ARGUMENT; rejects with INSECURE_SECRET. A file that cannot be read yet has none. */
export async function secretsOfMaster(masterUrl: string): Promise<readonly string[]> {
  const url = await zooKeeperOfMaster(masterUrl);
  return url === null ? [] : secretsOf(url);
}

/** The ensemble that lists the masters, also where a file names it; null without one. Fails as `secretsOfMaster`. */
export async function zooKeeperOfMaster(masterUrl: string): Promise<ZooKeeperUrl | null> {
  const url = parseMasterUrl(masterUrl);
  if (url.kind === "list") return null;
  if (url.kind === "zookeeper") return url.url;
  const found = await readMasterFile(url.path, readUrlFile).catch((thrown) => {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "INSECURE_SECRET") throw thrown;
    return null;
  });
  return found?.kind === "zookeeper" ? found.url : null;
}
