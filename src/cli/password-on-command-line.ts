/**
 * A password in a URL on the command line: every user of the machine can read it there (`ps`), so it is hidden as soon as a program runs.
 *
 * Boundary: imports nothing, because the small parent of a master hides it too.
 */

const PASSWORD_IN_WORD = /^((?:--[a-z-]+=)?zk:\/\/).*@/is;

/** What whoever gave it is told: of the ways that show it to nobody. */
export const PASSWORD_WARNING =
  "warning: a password on the command line can be read by every user of this machine. Put the URL into a file of mode 0600 and give file:///path, or set HOLDFAST_MASTER.";

/** Whether there was one. */
export function hidePasswords(argv: readonly string[]): boolean {
  if (!ownWords(argv).some((word) => PASSWORD_IN_WORD.test(word))) return false;
  // The system shows the title in place of the command line.
  process.title = argv.map(withoutPassword).join(" ");
  return true;
}

/** Those behind `--` belong to the command that is submitted. */
export function ownWords(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf("--");
  return end < 0 ? argv : argv.slice(0, end);
}

export const withoutPassword = (word: string): string => word.replace(PASSWORD_IN_WORD, "$1...@");
