/** What each role may say to a master: the tables of its links. */
import { driverNotices, driverRequests } from "../../wire/driver-messages.js";
import type { MessageTable, Role } from "../../wire/envelope.js";
import { CLUSTER_SCOPE, type Facts } from "../../wire/handshake.js";
import { OPERATIONS, type OperationName } from "../../wire/operations.js";
import { workerToMaster } from "../../wire/worker-messages.js";
import type { Link, LinkPeer } from "../link/link.js";

/** Whoever is authenticated may send an operation; who may not ask for it is told so (FORBIDDEN), as any other bad request. */
const operationInputs: MessageTable = Object.fromEntries(
  Object.entries(OPERATIONS)
    .filter(([, operation]) => operation.answeredBy !== "worker")
    .map(([name, operation]) => [name, operation.input]),
);

const MAY_ASK: Readonly<Record<Role, (operation: OperationName) => boolean>> = {
  client: () => true,
  worker: (operation) => operation === "artifact.get",
  master: (operation) => operation === "cluster",
  driver: () => false,
  executor: () => false,
};

/** Only with the key of the cluster: an application's own key opens no operation, whatever role its holder claims. */
export const mayAsk = (peer: LinkPeer, operation: OperationName): boolean =>
  peer.scope === CLUSTER_SCOPE && MAY_ASK[peer.role](operation);

const MESSAGES: Readonly<Record<Role, MessageTable>> = {
  worker: workerToMaster,
  driver: driverNotices,
  executor: {},
  client: {},
  master: {},
};

const REQUESTS: Readonly<Record<Role, MessageTable>> = {
  worker: operationInputs,
  driver: { ...operationInputs, ...driverRequests },
  executor: {},
  client: operationInputs,
  master: operationInputs,
};

/** An executor talks to its driver and never to a master. */
export const MASTER_ACCEPTS: readonly Role[] = ["worker", "driver", "client", "master"];
export const messagesFrom = (peer: LinkPeer): MessageTable => MESSAGES[peer.role];
export const requestsFrom = (peer: LinkPeer): MessageTable => REQUESTS[peer.role];

/** The masters that stand by, as their links say, in the order of their ids. Whoever is linked to the leader follows its epoch. */
export function standbysAmong(links: Iterable<Link>, epoch: number) {
  return [...links]
    .filter((link) => link.peer.role === "master")
    .map(({ peer }) => ({
      id: peer.id,
      address: String(peer.facts.address ?? ""),
      pid: Number(peer.facts.pid ?? 0),
      state: "STANDBY" as const,
      epoch,
      build: buildOf(peer.facts),
    }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Null: a master that does not say. */
export const buildOf = ({ build }: Facts): string | null => (typeof build === "string" ? build : null);

/** As a master says it in its facts; nothing where it has none to say. */
export const buildFact = ({ build }: { readonly build?: string }): Facts => (build === undefined ? {} : { build });
