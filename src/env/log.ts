/** Where hosts report what happened. Cores do not log. Fields are data (`app`, `worker`, `epoch`, `attempt`, `code`); the message is a plain sentence. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  /** A noun changed its state. */
  info(message: string, fields?: LogFields): void;
  /** Something abnormal was handled. */
  warn(message: string, fields?: LogFields): void;
  /** A person must act. */
  error(message: string, fields?: LogFields): void;
}

export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;
