/** The part of the package `pg` that is used here. It is an optional peer: what compiles this package need not have it. */
declare module "pg" {
  export interface QueryResult<R> {
    readonly rows: R[];
    readonly rowCount: number | null;
  }

  export interface ClientConfig {
    readonly host?: string;
    readonly port?: number;
    readonly user?: string;
    readonly database?: string;
    readonly password?: string;
    readonly ssl?: boolean | { readonly ca: string };
    readonly query_timeout?: number;
    readonly statement_timeout?: number;
    readonly connectionTimeoutMillis?: number;
    readonly application_name?: string;
    /** Settings of the session, as words of a command line. */
    readonly options?: string;
  }

  export interface PoolConfig extends ClientConfig {
    readonly max?: number;
    readonly idleTimeoutMillis?: number;
    readonly allowExitOnIdle?: boolean;
  }

  export interface Events {
    on(event: "error", listener: (thrown: Error) => void): unknown;
    off(event: "error", listener: (thrown: Error) => void): unknown;
  }

  export interface Queries {
    query<R = Record<string, unknown>>(text: string, values?: unknown[]): Promise<QueryResult<R>>;
  }

  export interface PoolClient extends Queries, Events {
    release(destroy?: boolean): void;
  }

  export class Client implements Queries {
    constructor(config: ClientConfig);
    connect(): Promise<unknown>;
    query<R = Record<string, unknown>>(text: string, values?: unknown[]): Promise<QueryResult<R>>;
    end(): Promise<void>;
  }

  export class Pool {
    constructor(config: PoolConfig);
    readonly totalCount: number;
    readonly idleCount: number;
    connect(): Promise<PoolClient>;
    on(event: "error", listener: (thrown: Error) => void): unknown;
    end(): Promise<void>;
  }
}
