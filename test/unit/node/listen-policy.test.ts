import { describe, expect, test } from "vitest";
import type { CodedError } from "../../../src/base/errors.js";
import { checkListenAddress } from "../../../src/node/network/listen-policy.js";

const secret = new Uint8Array(32);
const outcome = (address: string, withSecret: boolean, plaintext: boolean): string => {
  try {
    checkListenAddress({ address, secret: withSecret ? secret : null, plaintext });
    return "allowed";
  } catch (thrown) {
    return (thrown as CodedError).code;
  }
};

describe("listening", () => {
  test("on a loopback address needs nothing", () => {
    for (const address of [
      "127.0.0.1:0",
      "127.255.3.4:1",
      "localhost:7077",
      "LOCALHOST:1",
      "[::1]:7077",
      "[0:0:0:0:0:0:0:1]:1",
      "[::ffff:127.0.0.1]:1",
    ]) {
      expect([address, outcome(address, false, false)]).toEqual([address, "allowed"]);
    }
  });

  test("on any other address needs the secret and the word plaintext", () => {
    const others = [
      "0.0.0.0:7077",
      "[::]:7077",
      "10.0.0.1:1",
      "192.168.1.1:1",
      "[fe80::1]:1",
      "example.org:1",
      "127.0.0.1.example.org:1",
      "128.0.0.1:1",
      "[::ffff:10.0.0.1]:1",
    ];
    for (const address of others) {
      expect([
        address,
        outcome(address, false, false),
        outcome(address, false, true),
        outcome(address, true, false),
        outcome(address, true, true),
      ]).toEqual([address, "INSECURE_LISTEN", "INSECURE_LISTEN", "INSECURE_LISTEN", "allowed"]);
    }
  });

  test("is refused with a sentence that says why and what to do", () => {
    try {
      checkListenAddress({ address: "0.0.0.0:7077", secret: null, plaintext: true });
      expect.unreachable();
    } catch (thrown) {
      const error = thrown as CodedError;
      expect(error.message).toContain("other machines");
      expect(error.hint).toContain("--secret-file");
    }
    expect(outcome("nonsense", true, true)).toBe("INVALID_ARGUMENT");
  });
});
