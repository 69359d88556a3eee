/**
 * Stands before a server on its own machine and delays everything that comes and goes, each piece by another time: within a connection the
 * order is kept, as TCP has it, and messages of different connections overtake each other. slow-link.ts starts it.
 */
import { connect, createServer, type Socket } from "node:net";

const [listenPort = "0", address = "", port = "0", maxDelayMs = "0"] = process.argv.slice(2);

const server = createServer({ noDelay: true }, (client) => {
  const target = connect({ host: address, port: Number(port), noDelay: true });
  pass(client, target);
  pass(target, client);
});
server.listen(Number(listenPort), () => process.stdout.write("ready\n"));

function pass(from: Socket, to: Socket): void {
  let order: Promise<void> = Promise.resolve();
  const later = (run: () => void) => {
    const due = new Promise<void>((resolve) => setTimeout(resolve, Math.random() * Number(maxDelayMs)));
    order = order.then(() => due).then(run);
  };
  from.on("data", (chunk) => later(() => void to.write(chunk)));
  from.on("error", () => to.destroy());
  from.on("close", () => later(() => to.destroySoon()));
}
