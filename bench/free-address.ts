/** An address of this machine that nobody listens on, for processes that are started again at the same place. */
import { createServer } from "node:net";

export async function freeAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port could be had");
  return `127.0.0.1:${address.port}`;
}
