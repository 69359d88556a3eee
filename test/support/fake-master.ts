/** A master that answers operations from a table, for tests of the finder and the client: it can be a standby, die, freeze and come back. */
import { CodedError } from "../../src/base/errors.js";
import type { Link } from "../../src/host/link/link.js";
import { dialLink } from "../../src/host/link/link-handshake.js";
import { keysOfCluster } from "../../src/host/link/link-keys.js";
import type { LinkListener } from "../../src/host/link/link-listener.js";
import { listenLinks } from "../../src/host/link/link-listener.js";
import type { OperationName } from "../../src/wire/operations.js";
import { OPERATIONS } from "../../src/wire/operations.js";
import type { TestEnv } from "./manual-clock.js";

export const testSecret = new Uint8Array(32).fill(3);
const inputs = Object.fromEntries(Object.entries(OPERATIONS).map(([name, operation]) => [name, operation.input]));

export type Answers = Partial<Record<OperationName, (input: never) => unknown>>;

export interface FakeMaster {
  readonly address: string;
  readonly links: Link[];
  readonly calls: { readonly name: string; readonly input: unknown }[];
  state: "STANDBY" | "RECOVERING" | "ALIVE";
  leader: string | null;
  /** As masters tell of all that they know; "": nothing. */
  masters: string;
  /** 0: it says that it leads nobody; null: nothing is said, as a leader in doubt would. */
  leads: 0 | 1 | null;
  /** The address of a master that it has seen stopped. */
  stopped: string | null;
  epoch: number;
  answers: Answers;
  /** Tells its facts of now on all links. */
  announce(): void;
  /** As by kill -9: nobody listens, connections break. */
  kill(): Promise<void>;
}

/** An answer that is this never comes. */
export const NO_ANSWER = Symbol("no answer");

export async function startFakeMaster(
  env: TestEnv,
  address: string,
  initial: Partial<Pick<FakeMaster, "state" | "leader" | "masters" | "leads" | "stopped" | "epoch" | "answers">> = {},
): Promise<FakeMaster> {
  let listener: LinkListener;
  const master: FakeMaster = {
    address,
    links: [],
    calls: [],
    state: "ALIVE",
    leader: null,
    masters: "",
    leads: null,
    stopped: null,
    epoch: 1,
    answers: {},
    ...initial,
    announce: () => {
      for (const link of master.links) link.announce(facts());
    },
    kill: async () => {
      await listener.close();
      env.transport.breakConnections(address);
    },
  };
  const facts = () => ({
    state: master.state,
    leader: master.leader,
    stopped: master.stopped,
    ...(master.masters === "" ? {} : { masters: master.masters }),
    ...(master.leads === null ? {} : { leads: master.leads }),
  });
  listener = await listenLinks({
    env,
    address,
    epoch: () => master.epoch,
    incoming: {},
    requests: inputs,
    heartbeatMs: 1_000,
    silenceMs: 10_000,
    role: "master",
    id: `master-${address.replace(":", "-")}`,
    clusterId: () => null,
    keyFor: keysOfCluster(env.digest, testSecret),
    roles: ["client", "worker"],
    facts,
    onLink: (link) => {
      master.links.push(link);
      link.onMessage((message) => {
        master.calls.push({ name: message.kind, input: message.body });
        const answer = master.answers[message.kind as OperationName];
        const requestId = message.requestId as number;
        try {
          if (answer === undefined) throw new CodedError("NOT_FOUND", `no answer for ${message.kind}`);
          const body = (answer as (input: unknown) => unknown)(message.body);
          if (body !== NO_ANSWER) link.reply(requestId, body);
        } catch (thrown) {
          link.replyError(requestId, CodedError.from(thrown).toShape());
        }
      });
    },
  });
  return master;
}

/** As a worker that knows the secret, or another one, does it. */
export function dialAsWorker(env: TestEnv, address: string, signal: AbortSignal, key = testSecret): Promise<Link> {
  return dialLink(address, {
    env,
    epoch: () => 0,
    incoming: {},
    heartbeatMs: 1_000,
    silenceMs: 5_000,
    role: "worker",
    id: "w1",
    scope: "cluster",
    key,
    clusterId: null,
    connectTimeoutMs: 3_000,
    signal,
  });
}
