/**
 * The TypeScript of the documentation, made into files that compile and run.
 *
 *   ```ts frame           a whole job around a comment `// ...`: the examples of the document that are no whole files stand there
 *   ```ts                 without an import: an example for the frame. With one: a whole file; run when it exports a job
 *   ```ts params='{..}'   as params of the job
 *   ```ts file=job.ts     a file that commands of the document use
 *   ```ts violates=RULE / holds    compared with the rules of scripts/tidy.mjs, as a file of src/master
 *
 * What an example gives stands in it as comments and is compared: `// NAME: VALUE, VALUE` (what the collect sink of that uid was given, or what
 * stands in that file), or `// fails: CODE`.
 */
import { at, type Block } from "./markdown.js";

export interface Snippet {
  readonly block: Block;
  /** Name of its file in the project. */
  readonly file: string;
  readonly text: string;
  readonly runs: boolean;
  readonly params: unknown;
  readonly expected: readonly { readonly name: string; readonly values: readonly unknown[] }[];
  /** The error code it has to fail with. */
  readonly fails: string | null;
}

export const isRule = (block: Block): boolean => block.info.violates !== undefined || block.info.holds !== undefined;

export function snippetsOf(blocks: readonly Block[]): readonly Snippet[] {
  const snippets: Snippet[] = [];
  let frame: string | null = null;
  for (const block of blocks) {
    if (block.language !== "ts" || isRule(block)) continue;
    if (block.info.frame === true) frame = block.text;
    const whole = /^(?:import|export)\b/m.test(block.text);
    if (!whole && frame === null) throw new Error(`${at(block)}: this example has no frame`);
    const text = whole ? block.text : framed(frame ?? "", block.text, at(block));
    // A module of plain JavaScript is compiled under another name, beside the file that is run.
    const file = typeof block.info.file === "string" ? block.info.file.replace(/\.mjs$/, ".check.ts") : `at-line-${block.line}.ts`;
    const runs = /^export default defineJob/m.test(text) && block.info.file === undefined && block.info.frame === undefined;
    const params: unknown = typeof block.info.params === "string" ? JSON.parse(block.info.params) : {};
    const fails = /^\s*\/\/ fails: ([A-Z_]+)$/m.exec(block.text)?.[1] ?? null;
    snippets.push({ block, file, text, runs, params, expected: expectedOf(block), fails });
  }
  return snippets;
}

/** The example in place of the frame's `// ...`; streams of the frame that it does not name are left out, since a stream must end in a sink. */
function framed(frame: string, example: string, where: string): string {
  const marker = /^( *)\/\/ \.\.\.$/m.exec(frame);
  if (marker === null) throw new Error(`${where}: the frame has no "// ..."`);
  const indent = marker[1] ?? "";
  const code = example.replace(/"[^"\n]*"|\/\/.*$/gm, "");
  const named = frame.replace(new RegExp(`^${indent}const (\\w+) = [\\s\\S]*?;\\n`, "gm"), (statement, name: string) =>
    new RegExp(`\\b${name}\\b`).test(code) ? statement : "",
  );
  return named.replace(`${indent}// ...`, () => example);
}

function expectedOf(block: Block): Snippet["expected"] {
  const found = new Map<string, unknown[]>();
  for (const [, name = "", text = ""] of block.text.matchAll(/^\s*\/\/ ([\w./-]+): (.+)$/gm)) {
    // A comment that names neither a sink nor a file is just a comment.
    if (name === "fails" || !block.text.includes(`"${name}"`)) continue;
    const values = found.get(name) ?? [];
    found.set(name, values);
    try {
      values.push(...(new Function(`return [${text}]`)() as unknown[]));
    } catch {
      throw new Error(`${at(block)}: cannot read the values of ${name}: ${text}`);
    }
  }
  return [...found].map(([name, values]) => ({ name, values }));
}
