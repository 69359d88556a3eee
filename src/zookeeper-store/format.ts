/**
 * Whose path it is: `format` tells the version and the random id of the store. Made with the store's other znodes in one transaction, so
 * there is a whole store or none; never written again.
 */
import { CodedError } from "../base/errors.js";
import { EMPTY_MANIFEST, encodeHead, encodeManifest } from "./codec.js";
import type { Ensemble, ZnodeOperation } from "./ensemble.js";
import { FORMAT_VERSION, formatPath, type Layout, layoutOf } from "./layout.js";
import { damaged, newerFormat } from "./sealed.js";

const EMPTY = new Uint8Array(0);
/** Two processes that begin together: the second finds the store of the first. */
const MAX_ATTEMPTS = 5;

export interface FindStore {
  readonly ensemble: Ensemble;
  readonly root: string;
  /** The store that this process has seen here before: nothing is made in its place, and no other accepted. */
  readonly expected: string | undefined;
  /** Whether everything has to belong to the given user. */
  readonly isProtected: boolean;
  newStoreId(): string;
}

/** The store at the path, made where nothing is. Rejects STORE_FORMAT, STORE_UNUSABLE, and what the ensemble rejects with. */
export async function findStore(options: FindStore): Promise<Layout> {
  const { ensemble, root, expected } = options;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const [, format] = await Promise.all([ensemble.sync(root), ensemble.get(formatPath(root))]);
    if (format !== undefined) {
      const storeId = readFormat(format.data, formatPath(root));
      if (expected !== undefined && expected !== storeId) throw replaced(root, expected, `another store (${storeId})`);
      const layout = layoutOf(root, storeId);
      await checkProtection(options, layout);
      return layout;
    }
    if (expected !== undefined) throw replaced(root, expected, "nothing");
    await makeStore(options);
  }
  throw damaged(root, "a store can be neither found nor made there");
}

async function makeStore({ ensemble, root, newStoreId }: FindStore): Promise<void> {
  await ensemble.makePath(root);
  const others = await ensemble.children(root);
  if (others !== undefined && others.length > 0) {
    // A store that was made meanwhile is found by the next look.
    if (others.includes("format")) return;
    throw new CodedError("STORE_UNUSABLE", `${root} in ZooKeeper holds something that is not Holdfast's (${sample(others)})`, {
      hint: "Give the cluster a path of its own. Nothing was changed.",
      details: { path: root },
    });
  }
  const storeId = newStoreId();
  const layout = layoutOf(root, storeId);
  const format = new TextEncoder().encode(
    JSON.stringify({ holdfast: "coordination store", format: FORMAT_VERSION, store: storeId }),
  );
  const create = (path: string, data: Uint8Array = EMPTY): ZnodeOperation => ({ op: "create", path, data });
  await ensemble.multi([
    create(formatPath(root), format),
    create(layout.store),
    create(layout.head, encodeHead({ index: 0, revision: 0 })),
    create(layout.log),
    create(layout.pages),
    create(layout.manifest, encodeManifest(EMPTY_MANIFEST)),
    create(layout.ephemerals),
  ]);
}

/** The id of the store. Throws STORE_FORMAT, STORE_UNUSABLE. */
export function readFormat(data: Uint8Array, path: string): string {
  let fields: { readonly format?: unknown; readonly store?: unknown };
  try {
    fields = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data)) ?? {};
  } catch {
    throw damaged(path, "it is not JSON");
  }
  const { format, store } = fields;
  if (typeof format === "number" && format > FORMAT_VERSION) throw newerFormat(path, format);
  if (format !== FORMAT_VERSION || typeof store !== "string" || !/^[0-9a-z]+$/.test(store))
    throw damaged(path, "it does not describe a coordination store of Holdfast");
  return store;
}

/** With a user, nothing there may be open to those who have no password: they could depose the leader. */
async function checkProtection({ ensemble, root, isProtected }: FindStore, layout: Layout): Promise<void> {
  if (!isProtected) return;
  for (const path of [formatPath(root), layout.store, layout.head]) {
    if ((await ensemble.isOpenToAll(path)) !== true) continue;
    throw new CodedError(
      "STORE_UNUSABLE",
      `${path} in ZooKeeper may be read or written without a password, and this master has one`,
      {
        hint: "Leave the user out of --recovery, or set the ACLs of everything below that path to this user.",
        details: { path },
      },
    );
  }
}

function replaced(root: string, expected: string, found: string): CodedError {
  return new CodedError("STORE_UNUSABLE", `${root} in ZooKeeper held this cluster's store ${expected} and holds ${found} now`, {
    hint: "ZooKeeper lost or was given other data. Restore it from a copy. To start an empty cluster there on purpose, stop all masters first.",
    details: { path: root, expected },
  });
}

function sample(names: readonly string[]): string {
  return names.slice(0, 3).join(", ");
}
