import type { SessionId } from '../vocabulary/ids.ts'
import { logLevels, type LogLevel } from '../vocabulary/log-level.ts'

/**
 * The log levels of sessions that share an upstream: it is set to the most talkative that anybody asked for, and each
 * session hears what its own lets through. One that asked for nothing hears what `info` lets through, once another has
 * asked; so the upstream never gets quieter than that.
 */
export class SharedLevels {
  readonly #levels = new Map<SessionId, { readonly level: LogLevel; readonly recorded: LogLevel | null }>()
  /** How many sessions asked for each. */
  readonly #counts = logLevels.map(() => 0)

  /** The session asks for a level; `recorded` is what its record says until it says the same. */
  set(session: SessionId, level: LogLevel, recorded: LogLevel | null): void {
    this.remove(session)
    this.#levels.set(session, { level, recorded })
    this.#count(level, 1)
  }

  /** What the session's record says: it may have asked on another node, or in another life of this one. */
  learn(session: SessionId, recorded: LogLevel | null): void {
    const known = this.#levels.get(session)
    if (recorded === (known?.recorded ?? null) || recorded === null) return
    this.set(session, recorded, recorded)
  }

  get(session: SessionId): LogLevel | null {
    return this.#levels.get(session)?.level ?? null
  }

  remove(session: SessionId): void {
    const known = this.#levels.get(session)
    if (known === undefined) return
    this.#levels.delete(session)
    this.#count(known.level, -1)
  }

  /** What the upstream has to be set to; null: nobody asks for anything. */
  get wanted(): LogLevel | null {
    if (this.#levels.size === 0) return null
    const asked = this.#counts.findIndex((count) => count > 0)
    return logLevels[Math.min(asked, logLevels.indexOf(unasked))] ?? null
  }

  /** Whether the session hears a message of this level. `isSet`: the upstream was set to a level by anybody. */
  passes(session: SessionId, level: LogLevel, isSet: boolean): boolean {
    const own = this.get(session) ?? (isSet ? unasked : null)
    return own === null || logLevels.indexOf(level) >= logLevels.indexOf(own)
  }

  #count(level: LogLevel, by: 1 | -1): void {
    const at = logLevels.indexOf(level)
    this.#counts[at] = (this.#counts[at] ?? 0) + by
  }
}

const unasked: LogLevel = 'info'
