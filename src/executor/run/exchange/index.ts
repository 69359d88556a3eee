/** Exchanges between executor processes: what programs and tests use of this folder. */
export { ExchangeHub, type ExchangeHubOptions, HOLD_MS, MAX_HELD_CONNECTIONS } from "./exchange-hub.js";
export type { ExchangeNetworkOptions, PeerNetwork } from "./exchange-network.js";
export { FRAME_HEADER_BYTES } from "./frames.js";
export type { DataConnection, Dialler, ExchangePeer, PeerTransport, TryName } from "./peer-transport.js";
