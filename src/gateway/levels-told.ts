import type { JsonText } from '../std/json-text.ts'
import type { ServerName } from '../vocabulary/ids.ts'

/**
 * Where several servers stand on one URL: who of them has been told which level a session asked for on this node. The
 * session's record says it to all of them, but perhaps later than the session's next call comes to them.
 */
export class LevelsTold {
  /** Params of the last logging/setLevel. */
  #wanted: JsonText | null = null
  /** Of the servers that were called here, at most `serversMax`; null: it was not told of any level. */
  readonly #told = new Map<ServerName, JsonText | null>()

  /** The servers that may have an upstream of the session's own: those that were called here. */
  get called(): Iterable<ServerName> {
    return this.#told.keys()
  }

  /** All that were called here, and the others when they are. */
  want(params: JsonText): void {
    this.#wanted = params
    for (const server of this.#told.keys()) this.#told.set(server, params)
  }

  /** What the server has to be told before it is called now. */
  call(server: ServerName): JsonText | null {
    if (this.#told.get(server) === this.#wanted && this.#told.has(server)) return null
    if (this.#told.size >= serversMax) this.#told.clear()
    this.#told.set(server, this.#wanted)
    return this.#wanted
  }
}

/** Beyond, all are forgotten and told once more. */
const serversMax = 1000
