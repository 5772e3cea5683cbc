/**
 * The real log: pino, one JSON line an event on stderr, ISO time, every field through the redactor. Lines are written
 * before the call returns, so that none is lost when the process dies.
 */
import { pino, type DestinationStream, type Logger } from 'pino'
import type { Log, LogFields } from './log.ts'
import { redact } from './redactor.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** `destination`: where lines go; stderr when left out. */
export function makeLog(options: { level: LogLevel; destination?: DestinationStream }): Log {
  const logger = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    options.destination ?? pino.destination({ dest: 2, sync: true }),
  )
  return new PinoLog(logger, {})
}

class PinoLog implements Log {
  readonly #logger: Logger
  /** Of this log and its parents; a line's own field wins over one of the same name. */
  readonly #fields: Readonly<Record<string, unknown>>

  constructor(logger: Logger, fields: Readonly<Record<string, unknown>>) {
    this.#logger = logger
    this.#fields = fields
  }

  debug(event: string, fields?: LogFields): void {
    this.#write('debug', event, fields)
  }

  info(event: string, fields?: LogFields): void {
    this.#write('info', event, fields)
  }

  warn(event: string, fields?: LogFields): void {
    this.#write('warn', event, fields)
  }

  error(event: string, fields?: LogFields): void {
    this.#write('error', event, fields)
  }

  child(fields: LogFields): Log {
    return new PinoLog(this.#logger, { ...this.#fields, ...lineFields(fields) })
  }

  #write(level: LogLevel, event: string, fields: LogFields | undefined): void {
    if (!this.#logger.isLevelEnabled(level)) return
    this.#logger[level]({ event, ...this.#fields, ...(fields === undefined ? {} : lineFields(fields)) })
  }
}

/** The line's own names; a field of such a name gets a `_` behind it, so that no name stands twice. */
const ownNames: readonly string[] = ['level', 'time', 'event', 'msg', 'err']

function lineFields(fields: LogFields): Record<string, unknown> {
  const copy = redact(fields) as Record<string, unknown>
  return Object.fromEntries(
    Object.entries(copy).map(([name, value]) => [ownNames.includes(name) ? `${name}_` : name, value]),
  )
}
