/** What each role may say to a master: the tables of its links. */
import { driverToMaster } from "../wire/driver-messages.js";
import type { MessageTable, Role } from "../wire/envelope.js";
import { OPERATIONS } from "../wire/operations.js";
import { workerToMaster } from "../wire/worker-messages.js";
import type { LinkPeer } from "./link.js";

const operationInputs: MessageTable = Object.fromEntries(
  Object.entries(OPERATIONS)
    .filter(([, operation]) => operation.answeredBy !== "worker")
    .map(([name, operation]) => [name, operation.input]),
);
const only = (...names: readonly string[]): MessageTable =>
  Object.fromEntries(Object.entries(operationInputs).filter(([name]) => names.includes(name)));

const MESSAGES: Readonly<Record<Role, MessageTable>> = {
  worker: workerToMaster,
  driver: { "driver.executors": driverToMaster["driver.executors"], "driver.progress": driverToMaster["driver.progress"] },
  executor: {},
  client: {},
  master: {},
};

const REQUESTS: Readonly<Record<Role, MessageTable>> = {
  worker: only("artifact.get"),
  driver: {
    "driver.register": driverToMaster["driver.register"],
    "driver.commit": driverToMaster["driver.commit"],
    "driver.finished": driverToMaster["driver.finished"],
  },
  executor: {},
  client: operationInputs,
  master: only("cluster"),
};

/** An executor talks to its driver and never to a master. */
export const MASTER_ACCEPTS: readonly Role[] = ["worker", "driver", "client", "master"];
export const messagesFrom = (peer: LinkPeer): MessageTable => MESSAGES[peer.role];
export const requestsFrom = (peer: LinkPeer): MessageTable => REQUESTS[peer.role];
