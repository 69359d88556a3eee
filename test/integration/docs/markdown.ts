/** What the tests of the documentation read out of Markdown: fenced blocks with their words, headings, links. Boundary: text only. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { ROOT } from "../../support/holdfast.js";

export interface Block {
  readonly document: string;
  /** Of the opening fence, from 1. */
  readonly line: number;
  readonly language: string;
  /** Words of the fence after the language: `word` is true, `key=value` and `key="several words"` their text. */
  readonly info: Readonly<Record<string, string | true>>;
  readonly text: string;
}

export interface Document {
  /** Relative to the repository. */
  readonly name: string;
  readonly text: string;
  readonly blocks: readonly Block[];
  /** Everything outside fenced blocks. */
  readonly prose: string;
}

export const at = (block: Block): string => `${block.document}:${block.line}`;

export function parseDocument(name: string, text: string): Document {
  const blocks: Block[] = [];
  const prose: string[] = [];
  let open: { readonly fence: string; readonly line: number; readonly words: string; readonly lines: string[] } | null = null;
  for (const [index, line] of text.split("\n").entries()) {
    const fence = /^\s*(`{3,}|~{3,})(.*)$/.exec(line);
    if (open === null && fence !== null) {
      open = { fence: fence[1] ?? "", line: index + 1, words: (fence[2] ?? "").trim(), lines: [] };
    } else if (open !== null && line.trim() === open.fence) {
      const [language = "", ...rest] = open.words.split(" ");
      blocks.push({ document: name, line: open.line, language, info: infoOf(rest.join(" ")), text: open.lines.join("\n") });
      open = null;
    } else if (open === null) prose.push(line);
    else open.lines.push(line);
  }
  if (open !== null) throw new Error(`${name}:${open.line}: the block is never closed`);
  return { name, text, blocks, prose: prose.join("\n") };
}

function infoOf(words: string): Record<string, string | true> {
  const info: Record<string, string | true> = {};
  for (const match of words.matchAll(/([\w-]+)(?:=(?:"([^"]*)"|'([^']*)'|(\S+)))?/g)) {
    info[match[1] ?? ""] = match[2] ?? match[3] ?? match[4] ?? true;
  }
  return info;
}

function markdownFiles(folder: string): readonly string[] {
  return readdirSync(path.join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => path.posix.join(folder, name.split(path.sep).join("/")))
    .sort();
}

/** README, ARCHITECTURE and everything under docs/. */
export function allDocuments(): readonly Document[] {
  return ["README.md", "ARCHITECTURE.md", "packaging/README.md", ...markdownFiles("docs")].map((name) =>
    parseDocument(name, readFileSync(path.join(ROOT, name), "utf8")),
  );
}

/** The command in the header comment of an example, as a document. One that has to be stopped is stopped when it has printed something. */
export function exampleDocument(name: string): Document {
  const file = `examples/${name}/job.ts`;
  const header = readFileSync(path.join(ROOT, file), "utf8").split("*/")[0] ?? "";
  const commands = [...header.matchAll(/^ \* {3}(.*)$/gm)].map((match) => match[1] ?? "");
  const needs = /Needs (a PostgreSQL and the service)/.exec(header)?.[1];
  const reason =
    needs === undefined ? "" : ` norun reason="needs ${needs}: test/integration/scenarios/payments.long.test.ts runs it"`;
  const info = /Stop it with Ctrl-C/.test(header) ? " interrupt until=value" : reason;
  return parseDocument(file, `\`\`\`sh${info}\n${commands.join("\n")}\n\`\`\``);
}

/** The anchors that GitHub gives to the headings of a document. */
export function anchorsOf(document: Document): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const [, title = ""] of document.prose.matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)) {
    const plain = title.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").replace(/[`*]/g, "");
    const slug = plain
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-");
    let unique = slug;
    for (let count = 1; anchors.has(unique); count++) unique = `${slug}-${count}`;
    anchors.add(unique);
  }
  return anchors;
}

/** Targets of links outside code, without those that lead to the web. */
export function linksOf(document: Document): readonly string[] {
  const text = document.prose.replace(/`[^`]*`/g, "");
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? "").filter((target) => !/^[a-z]+:/.test(target));
}

/** `code` in the prose. */
export function codeSpansOf(document: Document): readonly string[] {
  return [...document.prose.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? "");
}
