import { canBeAsked } from '../vocabulary/isolation.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import type { JsonText } from '../std/json-text.ts'
import { parseObject } from './json-rpc.ts'
import type { ClientSession, ClientSessions } from './upstream.ts'

/** The clients' sessions, and which of them can be asked: what few words capabilities are is read once. */
export class Clients {
  readonly #sessions: ClientSessions
  readonly #asks = new Map<JsonText, boolean>()

  constructor(sessions: ClientSessions) {
    this.#sessions = sessions
  }

  find(id: SessionId): ClientSession | undefined {
    return this.#sessions.find(id)
  }

  seek(id: SessionId): Promise<ClientSession | undefined> {
    return this.#sessions.seek(id)
  }

  /** Those that are subscribed to something of the server, where the node keeps that. */
  subscribers(server: ServerName, node: NodeId): readonly SessionId[] {
    return this.#sessions
      .all()
      .filter((session) => isSubscribed(session, server) && session.pins.get(server) === node)
      .map(({ id }) => id)
  }

  /** Whether it is shown the lists of its own upstream, where it has one: at the server's own address. */
  isShownOwnLists(id: SessionId, server: ServerName): boolean {
    const session = this.#sessions.find(id)
    return session !== undefined && session.path === `/mcp/${server}` && this.asks(session)
  }

  asks({ capabilities }: ClientSession): boolean {
    const known = this.#asks.get(capabilities)
    if (known !== undefined) return known
    if (this.#asks.size >= capabilitiesMax) this.#asks.clear()
    const asks = canBeAsked(parseObject(capabilities) ?? {})
    this.#asks.set(capabilities, asks)
    return asks
  }
}

export function isSubscribed({ subscriptions }: ClientSession, server: ServerName): boolean {
  return subscriptions.some((subscription) => subscription.server === server)
}

/** Texts of capabilities that are remembered. */
const capabilitiesMax = 256
