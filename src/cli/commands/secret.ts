/** `holdfast secret FILE`: makes a cluster secret of 256 random bits in a file that only its owner can read. */
import type { Command } from "commander";
import { createSecretFile } from "../../node/files/secret-file.js";
import { newCommand, print, printJson, withJson } from "../command.js";

export function command(): Command {
  return withJson(
    newCommand("secret", "Make a cluster secret (256 bits, mode 0600). Copy the file to every machine of the cluster.", [
      "holdfast secret /etc/holdfast/secret",
    ]),
  )
    .argument("<file>", "where to write it; an existing file is never overwritten")
    .action(async (file: string, options: { readonly json?: boolean }) => {
      await createSecretFile(file);
      if (options.json === true) return printJson({ file });
      print(`Wrote a new cluster secret to ${file}. Give it to every process with --secret-file.`);
    });
}
