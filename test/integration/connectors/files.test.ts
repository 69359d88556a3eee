import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CodedError } from "../../../src/base/errors.js";
import { createFileBlobStore } from "../../../src/node/files/blob-store.js";
import { createSecretFile, readSecretFile } from "../../../src/node/files/secret-file.js";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "holdfast-files-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => {
      throw new Error("it should have failed");
    },
    (reason) => reason as CodedError,
  );

describe("a secret file", () => {
  test("holds 256 random bits that only its owner can read, and is never overwritten", async () => {
    const file = path.join(folder, "secret");
    await createSecretFile(file);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const before = await readFile(file, "utf8");
    expect((await readSecretFile(file)).length).toBe(32);
    expect((await failure(createSecretFile(file))).code).toBe("CONFLICT");
    expect(await readFile(file, "utf8")).toBe(before);
    const other = path.join(folder, "secret-2");
    await createSecretFile(other);
    expect(await readFile(other, "utf8")).not.toBe(before);
  });

  test("that others may read, or that is no secret of ours, is refused with what to do", async () => {
    const file = path.join(folder, "open");
    await createSecretFile(file);
    for (const mode of [0o640, 0o604, 0o660, 0o602]) {
      await chmod(file, mode);
      const error = await failure(readSecretFile(file));
      expect(error.code).toBe("INSECURE_SECRET");
      expect(error.hint).toContain("chmod 600");
    }
    for (const [name, text] of Object.entries({
      short: "abc",
      long: "a".repeat(100_000),
      words: "correct horse battery staple".padEnd(64),
      empty: "",
    })) {
      const bad = path.join(folder, `bad-${name}`);
      await writeFile(bad, text, { mode: 0o600 });
      const error = await failure(readSecretFile(bad));
      expect(error.code).toBe("INSECURE_SECRET");
      if (text.length > 0) expect(error.message).not.toContain(text);
    }
    expect((await failure(readSecretFile(path.join(folder, "none")))).code).toBe("NOT_FOUND");
    expect((await failure(readSecretFile(folder))).code).toBe("INSECURE_SECRET");
    expect((await failure(createSecretFile(path.join(folder, "no", "such", "folder")))).code).toBe("DISK_FAILED");
  });
});

describe("the blob store of files", () => {
  test("gives back what was put, under its sha-256, and leaves nothing else behind", async () => {
    const directory = path.join(folder, "blobs");
    const store = await createFileBlobStore(directory);
    const bytes = new TextEncoder().encode("hello");
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    expect(await store.has(sha256)).toBe(false);
    expect((await failure(store.get(sha256))).code).toBe("NOT_FOUND");
    expect(await Promise.all([store.put(bytes), store.put(bytes), store.put(bytes)])).toEqual([sha256, sha256, sha256]);
    expect(await store.has(sha256)).toBe(true);
    expect(new TextDecoder().decode(await store.get(sha256))).toBe("hello");
    expect(await readdir(directory)).toEqual([sha256]);
  });

  test("notices damaged bytes, and repairs them when they are put again", async () => {
    const directory = path.join(folder, "damaged");
    const store = await createFileBlobStore(directory);
    const sha256 = await store.put(Uint8Array.of(1, 2, 3));
    await writeFile(path.join(directory, sha256), "xyz");
    expect((await failure(store.get(sha256))).code).toBe("ARTIFACT_CORRUPT");
    await store.put(Uint8Array.of(1, 2, 3));
    expect([...(await store.get(sha256))]).toEqual([1, 2, 3]);
  });

  test("refuses names that are no sha-256, blobs that are too large, and a directory that cannot be one", async () => {
    const store = await createFileBlobStore(path.join(folder, "limits"), { maxBlobBytes: 10 });
    for (const name of ["../../etc/passwd", "", "A".repeat(64), `${"a".repeat(63)}/`])
      expect((await failure(store.get(name))).code).toBe("INVALID_ARGUMENT");
    expect((await failure(store.put(new Uint8Array(11)))).code).toBe("LIMIT_EXCEEDED");
    const file = path.join(folder, "a-file");
    await writeFile(file, "");
    expect((await failure(createFileBlobStore(path.join(file, "blobs")))).code).toBe("DISK_FAILED");
    await mkdir(path.join(folder, "real"));
    await symlink(path.join(folder, "real"), path.join(folder, "link"));
    await (await createFileBlobStore(path.join(folder, "link"))).put(Uint8Array.of(1));
  });
});
