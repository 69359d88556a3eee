// Runs jobs with runJob from the built package, each in a directory of files: node run-snippets.mjs < [{ id, module, params, parallelism }]
// Prints one line of JSON for each: { id, collected } or { id, code, message }.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { runJob } = await import(pathToFileURL(createRequire(`${process.cwd()}/x.js`).resolve("holdfast/testing")).href);
for (const { id, module, params, parallelism } of JSON.parse(Buffer.concat(chunks).toString("utf8"))) {
  try {
    const { default: job } = await import(pathToFileURL(module).href);
    const stop = new AbortController();
    // Jobs that never end are ended after a moment.
    const timer = setTimeout(() => stop.abort(), 700);
    const { collected } = await runJob(job, params, {
      parallelism,
      signal: stop.signal,
      baseDir: process.cwd(),
      print: () => undefined,
    });
    clearTimeout(timer);
    console.log(JSON.stringify({ id, collected }));
  } catch (thrown) {
    console.log(JSON.stringify({ id, code: thrown?.code ?? null, message: String(thrown?.message ?? thrown) }));
  }
}
process.exit(0);
