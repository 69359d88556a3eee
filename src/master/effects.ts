/** Everything that goes into the master's core and comes out of it. Data only; order is meaning; effects follow the commit of their turn. */

import type { ErrorShape } from "../base/errors.js";
import type { BundleName } from "../wire/bundles.js";
import type { Role } from "../wire/envelope.js";
import type { MasterView, MasterState as Phase } from "../wire/views.js";
import type { LaunchOrder } from "../wire/worker-messages.js";
import type { MasterToDriver, MasterToWorker, OperationReply } from "./messages.js";

export type MasterEvent =
  /** The first event of a core: leadership was won and the records were read. */
  | { readonly kind: "elected" }
  | { readonly kind: "opened"; readonly linkId: number; readonly role: Role; readonly peerId: string; readonly scope: string }
  /** `heardAt`: instant of the last frame. */
  | { readonly kind: "closed"; readonly linkId: number; readonly heardAt: number }
  /** The body has been validated by the schema of its kind. */
  | {
      readonly kind: "message";
      readonly linkId: number;
      readonly message: string;
      readonly body: unknown;
      readonly requestId: number | null;
    }
  /** A removal that was the last of its application (`isLast`) is over; `error` null: nothing is left. */
  | { readonly kind: "state-removed"; readonly applicationId: string; readonly error: string | null }
  /** Nobody has submitted this bundle for a while. */
  | { readonly kind: "bundle-idle"; readonly bundle: BundleName }
  /** The masters that stand by, as their links say. */
  | { readonly kind: "standbys"; readonly masters: readonly MasterView[] }
  | { readonly kind: "wake-up" };

export type MasterEffect =
  | ({ readonly kind: "send"; readonly linkId: number } & (MasterToWorker | MasterToDriver))
  /** The host adds the application's key, which is derived from the secret that a core never sees. */
  | { readonly kind: "launch"; readonly linkId: number; readonly order: Omit<LaunchOrder, "applicationKey"> }
  | { readonly kind: "reply"; readonly linkId: number; readonly requestId: number; readonly body: OperationReply }
  | { readonly kind: "reply-error"; readonly linkId: number; readonly requestId: number; readonly error: ErrorShape }
  | { readonly kind: "close-link"; readonly linkId: number; readonly reason: string }
  | { readonly kind: "log"; readonly level: LogLevel; readonly message: string; readonly fields: LogFields }
  /** What the application keeps in that storage, after its end. Lost with this process; a later leader asks again. */
  | { readonly kind: "remove-state"; readonly applicationId: string; readonly storage: string; readonly isLast: boolean }
  /** No record needs this bundle. The host leaves it where somebody submits it again at this moment, and asks once more later. */
  | { readonly kind: "remove-bundle"; readonly bundle: BundleName }
  /** Of the folders of earlier leaders of this cluster only these are needed. */
  | { readonly kind: "sweep-bundles"; readonly needed: readonly BundleName[] }
  /** A submission of that bundle has been looked at, whatever became of it. */
  | { readonly kind: "submission-taken"; readonly sha256: string }
  /** For what the host tells others of itself. */
  | { readonly kind: "phase"; readonly phase: Phase }
  /** A process has seen a higher epoch (recovery mode `none` after a restart): the host campaigns again for one above `seen`. */
  | { readonly kind: "epoch-too-low"; readonly seen: number };

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, string | number | boolean | null>>;
