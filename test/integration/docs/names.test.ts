/** What the documentation names is there: links, anchors, files of this repository, options of the programs, error codes, fields of `--json`. */
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
// @ts-expect-error a script without types
import { PROJECTS } from "../../../scripts/projects.mjs";
import { ERROR_CODES } from "../../../src/base/errors.js";
import { EVENT_KINDS } from "../../../src/master/events.js";
import { applicationSummary, applicationView, clusterView, eventView, workerView } from "../../../src/wire/views.js";
import { holdfast, ROOT } from "../../support/holdfast.js";
import { allDocuments, anchorsOf, codeSpansOf, type Document, linksOf } from "./markdown.js";

const documents = allDocuments();
const named = (name: string): Document => {
  const found = documents.find((document) => document.name === name);
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found;
};

describe("links", () => {
  test.each(documents.map((document) => [document.name, document] as const))("of %s lead somewhere", (_, document) => {
    const broken = linksOf(document).filter((target) => {
      const [file = "", anchor] = target.split("#");
      const place = file === "" ? document.name : path.posix.join(path.posix.dirname(document.name), file);
      if (!existsSync(path.join(ROOT, place))) return true;
      if (anchor === undefined) return false;
      const other = documents.find(({ name }) => name === place);
      return other === undefined || !anchorsOf(other).has(anchor);
    });
    expect(broken).toEqual([]);
  });

  test("reach every page", () => {
    const reached = new Set(["README.md"]);
    for (const name of reached) {
      const document = documents.find((candidate) => candidate.name === name);
      for (const target of document === undefined ? [] : linksOf(document)) {
        const place = path.posix.join(path.posix.dirname(name), target.split("#")[0] ?? "");
        reached.add(existsSync(path.join(ROOT, place, "README.md")) ? path.posix.join(place, "README.md") : place);
      }
    }
    expect(documents.map(({ name }) => name).filter((name) => !reached.has(name) && name !== "docs/benchmarks.md")).toEqual([]);
  });
});

test("files of this repository that are named in code spans exist", () => {
  const missing = documents.flatMap((document) =>
    codeSpansOf(document)
      .filter((span) => /^(?:src|test|scripts|docs|bench|examples|demo)\/[\w./*-]+$/.test(span))
      .filter((span) => !exists(span))
      .map((span) => `${document.name}: ${span}`),
  );
  expect(missing).toEqual([]);
});

/** `*` stands for any part of a name; `CODE` for any code. */
function exists(span: string): boolean {
  const pattern = span.replace(/\bCODE\b/, "*");
  if (!pattern.includes("*")) return existsSync(path.join(ROOT, pattern));
  const matcher = new RegExp(`^${path.posix.basename(pattern).replaceAll(".", "\\.").replaceAll("*", ".*")}$`);
  return readdirSync(path.join(ROOT, path.posix.dirname(pattern))).some((name) => matcher.test(name));
}

test("ARCHITECTURE.md draws the rings as the table of projects has them", () => {
  const rings = [...named("ARCHITECTURE.md").text.matchAll(/^\| (?:pure|neutral|node|programs) \|([^|]*)\|/gm)].flatMap(
    ([row, folders = ""]) => {
      const kind = row.split(" ")[1] === "programs" ? "node" : row.split(" ")[1];
      return [...folders.matchAll(/`([^`]+)`/g)].map(([, folder]) => `${folder}: ${kind}`);
    },
  );
  const projects = Object.entries(PROJECTS as Record<string, { readonly kind: string }>).map(
    ([folder, { kind }]) => `${folder}: ${kind}`,
  );
  expect(rings.sort()).toEqual(projects.sort());
});

interface Option {
  readonly command: string;
  readonly name: string;
  readonly default: string | null;
}

/** As its `--help` says. */
async function optionsOf(command: string): Promise<readonly Option[]> {
  const { stdout } = await holdfast([command, "--help"]);
  const text = stdout.slice(stdout.indexOf("Options:"), stdout.indexOf("Examples:")).replace(/\n {4,}/g, " ");
  return text.split("\n").flatMap((line) => {
    const value = /\(default: "([^"]*)"\)/.exec(line)?.[1] ?? null;
    const head = line.trim().split(/\s{2,}/)[0] ?? "";
    return [...head.matchAll(/--[a-z-]+/g)].map(([name]) => ({ command, name, default: value }));
  });
}

const COMMANDS = readdirSync(path.join(ROOT, "src/cli/commands")).map((file) => file.replace(/\.ts$/, ""));
/** Options of other programs that the documentation names. */
const OTHERS = new Set([
  "--help",
  "--ci",
  "--quick",
  "--no-faults",
  "--seed",
  "--seeds",
  "--from",
  "--mutants",
  "--remember",
  "--mutant",
  "--quiet",
  "--max-old-space-size",
  "--check",
  "--write",
  "--zookeeper",
  "--shrink",
  "--schedule",
  "--crash-points",
  "--every",
  "--seconds",
  "--runs",
  "--kills",
  "--oracle",
  "--clean",
  "--program",
  "--dist",
  "--minutes",
  "--create",
]);

describe("options", async () => {
  const options = (await Promise.all(COMMANDS.map(optionsOf))).flat();

  test("that the documentation names are options of a command", () => {
    const known = new Set([...options.map(({ name }) => name), ...OTHERS]);
    const unknown = documents
      .filter(({ name }) => !name.startsWith("docs/design/"))
      .flatMap((document) => {
        const places = [
          ...codeSpansOf(document),
          ...document.blocks.filter(({ language }) => language === "sh").map(({ text }) => text),
        ];
        const names = places.flatMap((text) => [...text.matchAll(/(?<![\w-])--[a-z][a-z-]+/g)].map(([name]) => name));
        return names.filter((name) => !known.has(name)).map((name) => `${document.name}: ${name}`);
      });
    expect([...new Set(unknown)]).toEqual([]);
  });

  const operating = named("docs/operating.md").text;
  const section = operating.slice(operating.indexOf("## All options"), operating.indexOf("## Limits"));

  test("of every command stand in the operating guide", () => {
    const missing = options.filter(({ name }) => name !== "--help" && !section.includes(`${name}`));
    expect(missing).toEqual([]);
  });

  test("have the defaults there that the commands have", () => {
    // The tables of the section, each under the command that it is of; the first one is of all commands that talk to a cluster.
    const wrong: string[] = [];
    let commands: readonly string[] = [];
    for (const line of section.split("\n")) {
      const title = /^(\w+):$/.exec(line)?.[1];
      if (title !== undefined) commands = [title];
      else if (line.startsWith("Commands that talk to a cluster")) commands = (/\(([^)]*)\)/.exec(line)?.[1] ?? "").split(", ");
      const cells = line.split("|").map((cell) => cell.trim());
      const names = [...(cells[1] ?? "").matchAll(/--[a-z][a-z-]+/g)].map(([name]) => name);
      for (const command of commands) {
        for (const name of names) {
          const option = options.find((candidate) => candidate.command === command && candidate.name === name);
          if (option === undefined) {
            if (name !== "--json") wrong.push(`${command} has no ${name}`);
          } else if (option.default !== null && !(cells[2] ?? "").includes(option.default) && !/^as /.test(cells[2] ?? ""))
            wrong.push(`${command} ${name}: ${option.default}, not ${cells[2]}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe("errors", () => {
  const codes = Object.keys(ERROR_CODES);

  test("have a line in the list of codes with the first sentence of their page", () => {
    const list = named("docs/errors/README.md").text;
    const wrong = codes.filter((code) => {
      const sentence = named(`docs/errors/${code}.md`).text.split("\n")[2] ?? "?";
      return !list.includes(`- [${code}](${code}.md): ${sentence}\n`);
    });
    expect(wrong).toEqual([]);
  });

  test("that pages name in capitals are codes", () => {
    const words = documents.flatMap((document) =>
      codeSpansOf(document)
        .filter((span) => /^[A-Z]+(?:_[A-Z]+)+$/.test(span) && !span.startsWith("HOLDFAST_"))
        .map((span) => [document.name, span] as const),
    );
    // The ZooKeeper client has codes of its own, which test/unit/zookeeper/errors.test.ts compares with its page.
    const constants = (name: string) => name.startsWith("docs/design/") || name === "docs/zookeeper-client.md";
    expect(words.filter(([document, word]) => !constants(document) && !codes.includes(word) && word !== "LC_")).toEqual([]);
  });
});

describe("docs/json.md", () => {
  const rows = new Map(
    [...named("docs/json.md").text.matchAll(/^\| `(\w+)`[^|]*\| `(\{[^`]*\})`/gm)].map((match) => [
      match[1] ?? "",
      fieldsOf((match[2] ?? "").replaceAll("\\|", "|")),
    ]),
  );

  test.each([
    ["status", applicationView],
    ["list", z.object({ applications: z.array(applicationSummary) })],
    ["cluster", clusterView],
    ["workers", z.object({ workers: z.array(workerView) })],
    ["events", eventView],
  ] as const)("names every field of %s, and no other", (command, schema) => {
    const shown = rows.get(command);
    if (shown === undefined) throw new Error(`json.md has no row of ${command}`);
    const real = fieldsOfSchema(schema);
    const top = (fields: ReadonlySet<string>) => new Set([...fields].map((field) => field.split(".")[0]));
    expect([...shown].filter((field) => !real.has(field))).toEqual([]);
    expect([...top(real)].filter((field) => !top(shown).has(field))).toEqual([]);
  });

  test("shows the kinds of events", () => {
    const operating = named("docs/operating.md").text + named("docs/json.md").text;
    expect(EVENT_KINDS.filter((kind) => !operating.includes(kind))).toEqual([]);
  });
});

/** `{"a","b":{"c"},"d":[{"e"}]}` as a, b, b.c, d, d.e. */
function fieldsOf(shape: string): ReadonlySet<string> {
  const fields = new Set<string>();
  const open: string[] = [];
  let last = "";
  for (const [token] of shape.matchAll(/"[^"]*"|[{}]/g)) {
    if (token === "{") open.push(last);
    else if (token === "}") open.pop();
    else {
      last = token.slice(1, -1);
      fields.add([...open.filter((name) => name !== ""), last].join("."));
    }
  }
  // A value such as "kind":"job|process" is no field of its own.
  return new Set([...fields].filter((field) => !/\|/.test(field) && field !== "process"));
}

function fieldsOfSchema(schema: z.ZodType): ReadonlySet<string> {
  const fields = new Set<string>();
  const walk = (node: unknown, at: readonly string[]): void => {
    if (typeof node !== "object" || node === null) return;
    const { properties, items, anyOf } = node as {
      properties?: Record<string, unknown>;
      items?: unknown;
      anyOf?: readonly unknown[];
    };
    for (const [name, value] of Object.entries(properties ?? {})) {
      fields.add([...at, name].join("."));
      walk(value, [...at, name]);
    }
    walk(items, at);
    for (const one of anyOf ?? []) walk(one, at);
  };
  walk(z.toJSONSchema(schema, { unrepresentable: "any" }), []);
  return fields;
}
