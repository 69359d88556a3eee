/**
 * Every command and snippet of the documentation is run (session.ts and snippets.ts say how), or says in its fence why not. A block that is
 * neither fails. DOCS=docs/job-guide.md runs one document.
 */
import { readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { ROOT } from "../../support/holdfast.js";
import { problemsOf, unaccounted } from "./check-document.js";
import { allDocuments, exampleDocument, parseDocument } from "./markdown.js";

const DOCUMENT_TIMEOUT_MS = 300_000;
const wanted = process.env.DOCS;
const documents = allDocuments().filter(({ name, blocks }) => blocks.length > 0 && (wanted === undefined || name === wanted));

describe.each(documents)("$name", (document) => {
  test("every block is run, or says why not", () => {
    expect(unaccounted(document)).toEqual([]);
  });

  const work = document.blocks.filter((block) => block.language !== "text" || Object.keys(block.info).length > 0);
  test.runIf(work.length > 0)(
    "its snippets compile, its commands run, and both give what it says",
    { timeout: DOCUMENT_TIMEOUT_MS },
    async () => {
      expect(await problemsOf(document)).toEqual([]);
    },
  );
});

test.each(readdirSync(path.join(ROOT, "examples")))(
  "examples/%s runs with the command of its header",
  { timeout: DOCUMENT_TIMEOUT_MS },
  async (name) => {
    const document = exampleDocument(name);
    expect(document.blocks[0]?.text).toContain(`npx holdfast run examples/${name}/job.ts`);
    expect(await problemsOf(document)).toEqual([]);
  },
);

const FRAME = `\`\`\`ts frame
import { defineJob, sinks, sources } from "holdfast";
export default defineJob({
  id: "planted",
  build(job) {
    const numbers = job.from("numbers", sources.numbers({ to: 3 }));
    // ...
  },
});
\`\`\`
`;
const fenced = (info: string, text: string) => `\`\`\`${info}\n${text}\n\`\`\`\n`;
const planted = (text: string) => parseDocument("planted.md", text);

describe("the test of the documentation sees", () => {
  test.each([
    ["a language that is not known", fenced("bash", "x"), "is not known"],
    ["commands that pass for a picture", fenced("", "holdfast list"), "commands in a block without a language"],
    ["a command that is not run, without a reason", fenced("sh norun", "rm -rf /"), "without a reason"],
    ["a file that no command runs", fenced("ts file=alone.ts", "export const x = 1;"), "no command runs alone.ts"],
    ["JSON that is compared with nothing", fenced("json", "{}"), "compared with nothing"],
  ])("%s", (_, text, wanted) => {
    expect(unaccounted(planted(text)).join("\n")).toContain(wanted);
  });

  test.each([
    ["a command that fails", fenced("sh", "echo here\nfalse\necho there"), "ended with 1, not 0"],
    ["a wrong option", fenced("sh", "holdfast list --jsno"), "ended with 2, not 0"],
    ["output that is not printed", fenced("sh", "echo one") + fenced("text output", "two"), "this line was not printed"],
    ["a field that is not there", fenced("sh", `echo '{"a":1}'`) + fenced("json output", '{"b":1}'), "it.b is not there"],
    ["a type error", FRAME + fenced("ts", 'numbers.map((n) => n.length).to("out", sinks.collect());'), "'length' does not exist"],
    [
      "a wrong result",
      `${FRAME + fenced("ts", 'numbers.to("out", sinks.collect());\n// out: 0, 1, 3')}`,
      "out is [0,1,2], not [0,1,3]",
    ],
    [
      "an error that does not come",
      FRAME + fenced("ts", 'numbers.to("out", sinks.collect());\n// fails: BAD_RECORD'),
      "it ends well",
    ],
    ["a rule that is not broken", fenced("ts violates=Date", "export const x = 1;"), "tidy does not refuse it"],
    ["a rule that is broken", fenced("ts holds", "export const x = Date.now();"), "names Date"],
  ])("%s", { timeout: 60_000 }, async (_, text, wanted) => {
    expect((await problemsOf(planted(text))).join("\n")).toContain(wanted);
  });
});
