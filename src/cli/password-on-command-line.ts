/**
 * A password in a URL on the command line: every user of the machine can read it there (`ps`). It is hidden as soon as this program runs, and
 * whoever gave it is told of the ways that show it to nobody.
 */
import { remark } from "./command.js";

const PASSWORD_IN_WORD = /^((?:--[a-z-]+=)?zk:\/\/).*@/is;

export function hidePasswords(argv: readonly string[]): void {
  const end = argv.indexOf("--");
  const own = end < 0 ? argv : argv.slice(0, end);
  if (!own.some((word) => PASSWORD_IN_WORD.test(word))) return;
  // The system shows the title in place of the command line.
  process.title = argv.map(withoutPassword).join(" ");
  // With --json standard error holds the error's object only.
  if (own.includes("--json")) return;
  remark(
    "warning: a password on the command line can be read by every user of this machine. Put the URL into a file of mode 0600 and give file:///path, or set HOLDFAST_MASTER.",
  );
}

export const withoutPassword = (word: string): string => word.replace(PASSWORD_IN_WORD, "$1...@");
