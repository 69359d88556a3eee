/**
 * `npm run chaos -- --clean --applications N --seed S [--minutes M] [--zookeeper]`: see clean.ts.
 *
 * Exit codes: 0 everything is as before, 1 something is left (or an application ended otherwise than it should), 2 wrong usage.
 */
import { playClean } from "./clean.js";

const NUMBERS = { "--applications": "applications", "--seed": "seed", "--minutes": "minutes" } as const;
const isNumbered = (word: string | undefined): word is keyof typeof NUMBERS => word !== undefined && Object.hasOwn(NUMBERS, word);
const USAGE = "usage: npm run chaos -- --clean [--applications N] [--seed S] [--minutes M] [--zookeeper]";

export async function clean(words: readonly string[]): Promise<number> {
  const options = {
    applications: 100,
    seed: 1 + (Date.now() % 1_000_000),
    minutes: 24 * 60,
    store: "directory" as "directory" | "zookeeper",
  };
  for (let at = 0; at < words.length; at += 1) {
    const [word, value] = [words[at], Number(words[at + 1])];
    if (word === "--zookeeper") options.store = "zookeeper";
    else if (isNumbered(word) && Number.isInteger(value) && value > 0) {
      options[NUMBERS[word]] = value;
      at += 1;
    } else {
      console.error(USAGE);
      return 2;
    }
  }
  const say = (text: string) => console.log(`${new Date().toISOString().slice(11, 23)} ${text}`);
  say(`seed ${options.seed}`);
  const { applications, kills, before, after, problems } = await playClean({ ...options, say });
  for (const [place, count] of Object.entries(after))
    say(`${String(before[place]).padStart(6)} ${String(count).padStart(6)}  ${place}`);
  for (const problem of problems) say(`VIOLATION ${problem}`);
  say(`${applications} applications, ${kills} kills, ${problems.length} problems`);
  return problems.length === 0 ? 0 : 1;
}
