/**
 * Checks of a ZooKeeper ensemble by what its servers say of themselves (four-letter words): who is down, who leads, who follows, how fast.
 * Boundary: `askServer` asks, everything else judges answers, and neither needs a session or a password.
 */
import { askFourLetterWord, hasZooKeeperCode, readMonitor, type ServerMonitor } from "../../zookeeper/index.js";
import { formatCount } from "../terminal.js";
import { type Check, check, judge } from "./check.js";

const WORD_TIMEOUT_MS = 3_000;
const SLOW_AVERAGE_MS = 20;
const SLOW_MAX_MS = 1_000;
const MANY_OUTSTANDING = 100;
const LEAST_FREE_DESCRIPTORS = 500;
/** Masters ask for 10 s; a tick is the step in which sessions end, and a server grants at least two. */
const LARGEST_TICK_MS = 2_000;

export interface ServerAnswer {
  readonly server: string;
  /** `serving`: with a quorum. */
  readonly state: "down" | "no-quorum" | "serving";
  /** Of `srvr`, or why there is none. */
  readonly mode: string | null;
  readonly trouble: string | null;
  /** Null: it does not say (`mntr` is not on its list). */
  readonly monitor: ServerMonitor | null;
  /** Lines of `conf`; empty where it does not say. */
  readonly settings: ReadonlyMap<string, string>;
}

/** Never rejects but with the signal's reason. */
export async function askServer(server: string, signal: AbortSignal): Promise<ServerAnswer> {
  const options = { signal, timeoutMs: WORD_TIMEOUT_MS };
  const silent = { server, mode: null, monitor: null, settings: new Map<string, string>() };
  try {
    const text = await askFourLetterWord(server, "srvr", options);
    const mode = /^Mode: (\S+)$/m.exec(text)?.[1] ?? null;
    if (mode === null) return { ...silent, state: "no-quorum", trouble: firstLine(text) };
    const monitor = await optional(readMonitor(server, options));
    const conf = await optional(askFourLetterWord(server, "conf", options));
    return { server, state: "serving", mode, trouble: null, monitor, settings: settingsOf(conf ?? "") };
  } catch (thrown) {
    signal.throwIfAborted();
    if (hasZooKeeperCode(thrown, "UNIMPLEMENTED")) return { ...silent, state: "serving", trouble: thrown.message };
    return { ...silent, state: "down", trouble: thrown instanceof Error ? thrown.message : String(thrown) };
  }
}

/** In the order of the URL. */
export function ensembleChecks(answers: readonly ServerAnswer[]): readonly Check[] {
  return [...answers.map(serverCheck), quorumCheck(answers), ...answers.flatMap(healthChecks), ...tickChecks(answers)];
}

function serverCheck({ server, state, mode, trouble, monitor }: ServerAnswer): Check {
  switch (state) {
    case "down":
      return check(
        "server",
        "fail",
        `${server} is down: ${trouble}`,
        "Start ZooKeeper there, or see the network and its log. Masters go on while a majority serves.",
      );
    case "no-quorum":
      return check(
        "server",
        "fail",
        `${server} runs and serves nobody: ${trouble}`,
        "It sees no majority of its ensemble: start the others, and check that they reach each other.",
      );
    case "serving":
      if (mode === null)
        return check(
          "server",
          "warn",
          `${server} runs, and does not say what it is`,
          "Add srvr,mntr,conf to 4lw.commands.whitelist in its zoo.cfg.",
        );
      return check(
        "server",
        "ok",
        `${server} is ${mode === "leader" ? "the leader" : mode === "standalone" ? "standalone" : `a ${mode}`}${monitor?.version == null ? "" : `, version ${monitor.version.split(",")[0]?.split("-")[0]}`}`,
      );
  }
}

function quorumCheck(answers: readonly ServerAnswer[]): Check {
  const name = "quorum";
  const serving = answers.filter(({ state }) => state === "serving");
  const leaders = answers.filter(({ mode }) => mode === "leader" || mode === "standalone");
  const [leader] = leaders;
  if (serving.length === 0)
    return check(
      name,
      "fail",
      "no server serves: nothing can be made durable",
      "Start a majority of the servers. What runs on workers runs on meanwhile; nothing is lost.",
    );
  if (leaders.length > 1)
    return check(
      name,
      "fail",
      `${leaders.map(({ server }) => server).join(" and ")} each lead: these are servers of different ensembles`,
      "Name the servers of one ensemble only.",
    );
  if (leader === undefined)
    return check(name, "warn", "none of the servers named leads", "Name all servers of the ensemble in the URL.");
  if (leader.mode === "standalone") {
    return check(
      name,
      "warn",
      `${leader.server} stands alone: while it is down no master can lead`,
      "Run three servers, so that one may die.",
    );
  }
  const followers = answers.filter(({ mode }) => mode === "follower").length;
  const { synced, voters } = countsOf(leader, followers);
  const spare = synced + 1 - (Math.floor(voters / 2) + 1);
  const text = `${leader.server} leads, ${synced} of ${voters - 1} followers are synced: ${spare > 0 ? `${spare} more may die` : "no other server may die"}`;
  return judge(name, spare > 0, "warn", text, "Bring back the server that is missing; with four or six servers add or remove one.");
}

/** As the leader says; without its `mntr` as the servers that were asked say. */
function countsOf(leader: ServerAnswer, followers: number): { readonly synced: number; readonly voters: number } {
  const numbers = leader.monitor?.numbers;
  const synced = numbers?.get("synced_followers") ?? followers;
  const voters = numbers?.get("quorum_size") ?? numbers?.get("followers") ?? followers;
  // `quorum_size` counts the voting members, `followers` all but the leader.
  return { synced, voters: numbers?.has("quorum_size") === true ? voters : voters + 1 };
}

function healthChecks({ server, state, monitor }: ServerAnswer): readonly Check[] {
  if (state !== "serving") return [];
  if (monitor === null) {
    return [
      check(
        "health",
        "warn",
        `${server} does not answer mntr`,
        "Add mntr to 4lw.commands.whitelist in its zoo.cfg, to see its latency and load here.",
      ),
    ];
  }
  const number = (name: string) => monitor.numbers.get(name) ?? 0;
  const average = number("avg_latency");
  const longest = number("max_latency");
  const outstanding = number("outstanding_requests");
  const found = [
    judge(
      "health",
      average <= SLOW_AVERAGE_MS && longest <= SLOW_MAX_MS && outstanding <= MANY_OUTSTANDING,
      "warn",
      `${server}: latency ${average.toFixed(1)} ms on average and ${longest} ms at most since it started, ${formatCount(outstanding)} requests wait, ${formatCount(number("znode_count"))} znodes`,
      "Give its transaction log (dataLogDir) a disk of its own, and its Java a heap that does not swap; then restart it, followers first.",
    ),
  ];
  const free =
    (monitor.numbers.get("max_file_descriptor_count") ?? Number.POSITIVE_INFINITY) - number("open_file_descriptor_count");
  if (free < LEAST_FREE_DESCRIPTORS)
    found.push(check("health", "warn", `${server} has ${free} file descriptors left`, "Raise LimitNOFILE of its unit."));
  return found;
}

function tickChecks(answers: readonly ServerAnswer[]): readonly Check[] {
  return answers.flatMap(({ server, settings }) => {
    const tickMs = Number(settings.get("tickTime") ?? Number.NaN);
    if (Number.isNaN(tickMs)) return [];
    const text = `${server}: a tick is ${tickMs} ms, sessions last ${settings.get("minSessionTimeout")} to ${settings.get("maxSessionTimeout")} ms`;
    return [
      judge(
        "ticks",
        tickMs <= LARGEST_TICK_MS,
        "warn",
        text,
        "Set tickTime=2000 or less: sessions end in steps of a tick, so a lost machine is noticed that much later.",
      ),
    ];
  });
}

/** Undefined means that the server does not answer the word; being down shows elsewhere. */
async function optional<T>(answer: Promise<T>): Promise<T | null> {
  return answer.catch((thrown) => {
    if (
      hasZooKeeperCode(thrown, "UNIMPLEMENTED") ||
      hasZooKeeperCode(thrown, "READ_ONLY") ||
      hasZooKeeperCode(thrown, "CONNECTION_LOST")
    )
      return null;
    throw thrown;
  });
}

export function settingsOf(conf: string): ReadonlyMap<string, string> {
  return new Map(
    conf.split("\n").flatMap((line) => {
      const at = line.indexOf("=");
      return at < 1 ? [] : [[line.slice(0, at).trim(), line.slice(at + 1).trim()] as const];
    }),
  );
}

const firstLine = (text: string): string => text.trim().split("\n")[0] ?? "";
