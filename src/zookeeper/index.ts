/** A ZooKeeper client that never takes a new session in silence, sends versions as they are given, and names unknown outcomes. */
export { type Acl, CREATOR_ALL_ACL, OPEN_ACL, type Permission, READ_ACL } from "./acl.js";
export type { ZooKeeperClock, ZooKeeperRandom } from "./clock.js";
export { connectZooKeeper } from "./connect.js";
export { type ConnectString, parseConnectString, type ServerAddress } from "./connect-string.js";
export type { ZooKeeperTlsOptions } from "./dial.js";
export {
  type FailedOperation,
  hasZooKeeperCode,
  type Outcome,
  ZOOKEEPER_ERROR_CODES,
  ZooKeeperError,
  type ZooKeeperErrorCode,
} from "./errors.js";
export {
  askFourLetterWord,
  type FourLetterOptions,
  type FourLetterWord,
  readMonitor,
  type ServerMonitor,
} from "./four-letter.js";
export {
  ANY_VERSION,
  type CreateMode,
  type CreateOperation,
  type MultiResult,
  type ReadOperation,
  type ReadResult,
  type WriteOperation,
  type WriteResult,
} from "./operations.js";
export type { SessionIdentity, SessionState } from "./session.js";
export type { Stat } from "./stat.js";
export type { WatchMode } from "./watches.js";
export type {
  CallOptions,
  CreateOptions,
  DigestAuth,
  ReadOptions,
  StateEvent,
  Watch,
  WatchEvent,
  WatchListener,
  ZooKeeper,
  ZooKeeperOptions,
} from "./zookeeper.js";
