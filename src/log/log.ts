/**
 * The log as every part sees it: one fixed event name (kebab-case) and structured fields a line. The real one is pino
 * behind a redactor (log/pino-log); tests pass their own.
 */
export type Log = {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
  /** A log that adds the fields to each line. */
  child(fields: LogFields): Log
}

/** An Error under `error` is printed as its chain of messages. */
export type LogFields = Readonly<Record<string, unknown>>

export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
}
