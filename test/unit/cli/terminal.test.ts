/** What commands print: colours only where somebody sees them, and tables that fit. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { styleFor, styleOfState, table, WIDTH } from "../../../src/cli/terminal.js";

afterEach(() => vi.unstubAllEnvs());

const painted = (stream: { readonly isTTY?: boolean }): boolean => styleFor(stream).red("x") !== "x";

describe("colours", () => {
  test("are for terminals, and end where they began", () => {
    vi.stubEnv("NO_COLOR", "");
    vi.stubEnv("TERM", "xterm");
    expect(styleFor({ isTTY: true }).red("x")).toBe("\u001b[31mx\u001b[39m");
    expect(painted({})).toBe(false);
    expect(painted({ isTTY: false })).toBe(false);
  });

  test("are left out when the user says so, and on a terminal that knows none", () => {
    vi.stubEnv("TERM", "xterm");
    vi.stubEnv("NO_COLOR", "1");
    expect(painted({ isTTY: true })).toBe(false);
    vi.stubEnv("NO_COLOR", "");
    vi.stubEnv("TERM", "dumb");
    expect(painted({ isTTY: true })).toBe(false);
  });

  test("tell what is well from what waits and what has failed", () => {
    vi.stubEnv("NO_COLOR", "");
    vi.stubEnv("TERM", "xterm");
    const style = styleFor({ isTTY: true });
    const colours = ["running", "waiting", "failed", "cancelled"].map((state) => styleOfState(style, state)(""));
    expect(new Set(colours).size).toBe(4);
  });
});

test("a table on a terminal is as wide as without colours", () => {
  vi.stubEnv("NO_COLOR", "");
  vi.stubEnv("TERM", "xterm");
  const rows = [
    { id: "a".repeat(60), state: "running" },
    { id: "b", state: "failed" },
  ];
  const draw = (isTTY: boolean) => {
    const style = styleFor({ isTTY });
    const paint = (row: { readonly state: string }, text: string) => styleOfState(style, row.state)(text);
    return table(
      [
        { title: "APPLICATION", of: (row) => row.id, shrink: true },
        { title: "STATE", of: (row) => row.state, paint },
        { title: "REASON", of: () => "r".repeat(40), shrink: true },
      ],
      rows,
      style,
    );
  };
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are what is taken out here
  const bare = draw(true).replace(/\u001b\[\d+m/g, "");
  expect(bare).toBe(draw(false));
  expect(draw(true)).not.toBe(bare);
  for (const line of bare.split("\n")) expect(line.length).toBeLessThanOrEqual(WIDTH);
});
