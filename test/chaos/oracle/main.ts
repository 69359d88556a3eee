/**
 * `npm run chaos -- --oracle --kills N --seed S [--count RECORDS] [--zookeeper]`: see oracle.ts. The kills come from the seed; real processes make no two
 * runs alike. The more records a job has, the more of the time there is something to kill, and the later it is judged.
 *
 * Exit codes: 0 every answer was exact, 1 one was not (its evidence stays, in a directory that is named), 2 wrong usage.
 */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { playOracle } from "./oracle.js";

const USAGE = "usage: npm run chaos -- --oracle [--kills N] [--seed S] [--count RECORDS] [--zookeeper]";

const NUMBERS = ["--kills", "--seed", "--count"];

export async function oracle(words: readonly string[]): Promise<number> {
  const options = {
    kills: 100,
    seed: 1 + (Date.now() % 1_000_000),
    count: 60_000,
    store: "directory" as "directory" | "zookeeper",
  };
  for (let at = 0; at < words.length; at += 1) {
    const [word = "", value] = [words[at], Number(words[at + 1])];
    if (word === "--zookeeper") options.store = "zookeeper";
    else if (NUMBERS.includes(word) && Number.isInteger(value) && value > 0) {
      options[word.slice(2) as "kills" | "seed" | "count"] = value;
      at += 1;
    } else {
      console.error(USAGE);
      return 2;
    }
  }
  const told: string[] = [];
  const say = (text: string) => {
    const line = `${new Date().toISOString().slice(11, 23)} ${text}`;
    told.push(line);
    console.log(line);
  };
  say(`seed ${options.seed}`);
  const { kills, jobs, restored, violations, evidence } = await playOracle({ ...options, say });
  for (const violation of violations) say(`VIOLATION ${violation}`);
  const counts = Object.entries(kills).map(([victim, count]) => `${count} ${victim}`);
  say(
    `${Object.values(kills).reduce((sum, count) => sum + count, 0)} kills (${counts.join(", ")}), ${jobs} jobs, ${restored} of them ended from a checkpoint`,
  );
  if (evidence !== null) {
    writeFileSync(path.join(evidence, "told.txt"), `${told.join("\n")}\n`);
    console.log(
      `evidence: ${evidence} (again: npm run chaos -- --oracle --kills ${options.kills} --seed ${options.seed} --count ${options.count}${options.store === "zookeeper" ? " --zookeeper" : ""})`,
    );
  }
  return violations.length === 0 ? 0 : 1;
}
