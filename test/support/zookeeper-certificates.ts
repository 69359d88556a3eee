/** Certificates for ZooKeeper's TLS port, made by openssl and Java's keytool for one test. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import type { ZooKeeperTls } from "./zookeeper.js";

export interface ZooKeeperCertificates {
  readonly server: ZooKeeperTls;
  /** PEM texts for clients: the authority, and a certificate that it has signed. */
  readonly ca: string;
  readonly client: { readonly cert: string; readonly key: string };
  /** Signed by an authority that the server does not know. */
  readonly stranger: { readonly cert: string; readonly key: string };
}

/** An authority, a server certificate for 127.0.0.1 and localhost, and client certificates, made by openssl in this directory. */
export async function makeCertificates(directory: string): Promise<ZooKeeperCertificates> {
  await mkdir(directory, { recursive: true });
  const run = promisify(execFile);
  const openssl = (...words: string[]) => run("openssl", words, { cwd: directory });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const read = (file: string) => readFileSync(path.join(directory, file), "utf8");
  await writeFile(path.join(directory, "names.cnf"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
  for (const authority of ["ca", "other-ca"])
    await openssl(
      "req",
      "-x509",
      ...newKey,
      "-days",
      "2",
      "-subj",
      `/CN=${authority}`,
      "-keyout",
      `${authority}.key`,
      "-out",
      `${authority}.pem`,
    );
  for (const [name, authority] of [
    ["server", "ca"],
    ["client", "ca"],
    ["stranger", "other-ca"],
  ] as const) {
    await openssl("req", ...newKey, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.csr`);
    const sign = ["x509", "-req", "-in", `${name}.csr`, "-CA", `${authority}.pem`, "-CAkey", `${authority}.key`, "-CAcreateserial"];
    await openssl(...sign, "-days", "2", "-extfile", "names.cnf", "-out", `${name}.pem`);
  }
  const password = "for-tests";
  const pass = `pass:${password}`;
  await openssl(
    "pkcs12",
    "-export",
    "-in",
    "server.pem",
    "-inkey",
    "server.key",
    "-name",
    "server",
    "-out",
    "server.p12",
    "-passout",
    pass,
  );
  // A trust store has to say that its certificate is trusted, which only keytool can write.
  const trust = ["-importcert", "-noprompt", "-alias", "ca", "-file", "ca.pem", "-keystore", "trust.p12", "-storetype", "PKCS12"];
  await run("keytool", [...trust, "-storepass", password], { cwd: directory });
  return {
    server: {
      keyStore: path.join(directory, "server.p12"),
      keyStorePassword: password,
      trustStore: path.join(directory, "trust.p12"),
      trustStorePassword: password,
    },
    ca: read("ca.pem"),
    client: { cert: read("client.pem"), key: read("client.key") },
    stranger: { cert: read("stranger.pem"), key: read("stranger.key") },
  };
}
