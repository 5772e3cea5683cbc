import { unreachable } from '../std/assert.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import type { LogLevel } from '../vocabulary/log-level.ts'
import { clientSessionsMax, pinsMax, sessionsLengthMax, subscriptionsMax } from '../vocabulary/session-limits.ts'
import { byName } from './by-name.ts'
import type { Command, CommandResult, Revision, SessionOpening, SessionRecord, Subscription } from './command.ts'
import type { RecordChange } from './content-sum.ts'
import type { SessionPin } from './reader.ts'
import { sessionLength } from './session-fields.ts'

/**
 * The sessions of MCP clients, and which have ended since somebody took that. A session ends when it is closed, or at the
 * entry at which it was unused in log time for as long as it may be, so it ends on every node at the same entry.
 */
export class ClientSessions {
  /** In the order of their last use: log time never falls. */
  #sessions = new Map<SessionId, SessionRecord>()
  /** By how long they may be unused, in the order of their last use: the first is the first to expire. */
  #byIdleMs = new Map<number, Set<SessionId>>()
  /** Of all, in UTF-16 units. */
  #length = 0
  #ended: SessionId[] = []
  #pinned: SessionPin[] = []
  readonly #changing: (id: SessionId, change: RecordChange<SessionRecord>) => void

  /** `changing` is told of each record that is about to come, go or be another, except in `restoring`. */
  constructor(changing: (id: SessionId, change: RecordChange<SessionRecord>) => void) {
    this.#changing = changing
  }

  get size(): number {
    return this.#sessions.size
  }

  /** Log time at which the next one expires unless it is used; null: there is none. */
  get nextEnd(): number | null {
    let next: number | null = null
    for (const [idleMs, [id]] of this.#byIdleMs) {
      const session = id === undefined ? undefined : this.#sessions.get(id)
      if (session !== undefined) next = Math.min(next ?? Infinity, session.usedAt + idleMs)
    }
    return next
  }

  find(id: SessionId): SessionRecord | undefined {
    return this.#sessions.get(id)
  }

  /** In the order of their last use. */
  all(): SessionRecord[] {
    return [...this.#sessions.values()]
  }

  /** Log time, which never falls, has come to here: what was unused for too long ends. */
  advance(time: number): void {
    for (const [idleMs, ids] of this.#byIdleMs) {
      for (const id of ids) {
        const session = this.#sessions.get(id)
        if (session === undefined || session.usedAt + idleMs > time) break
        this.#end(session)
      }
    }
  }

  apply(command: SessionCommand, entry: Entry): CommandResult {
    const { index } = entry
    switch (command.kind) {
      case 'session-open':
        return this.#open(command.session, entry)
      case 'session-close':
        return this.#close(command.id, index)
      case 'session-touch':
        return this.#touch(command.ids, entry)
      case 'session-level':
        return this.#setLevel(command.id, command.level, index)
      case 'session-subscribe':
        return this.#subscribe(command.id, { server: command.server, uri: command.uri }, index)
      case 'session-unsubscribe':
        return this.#unsubscribe(command.id, { server: command.server, uri: command.uri }, index)
      case 'session-pin':
        return this.#pin(command.id, command, index)
      default:
        return unreachable(command)
    }
  }

  /** Those that have ended since the last take. */
  takeEnded(): SessionId[] {
    const ended = this.#ended
    this.#ended = []
    return ended
  }

  /** Those that were pinned, or are pinned and have subscribed to something, since the last take. */
  takePinned(): SessionPin[] {
    const pinned = this.#pinned
    this.#pinned = []
    return pinned
  }

  /**
   * Makes these the sessions, in the order of their last use, when `commit` of what it returns is called; whoever asks may
   * rest between the steps. Those that are not among them have ended then, and those that have subscribed are pinned anew.
   */
  *restoring(sessions: readonly SessionRecord[]): Generator<void, { commit: () => void }, void> {
    const named = yield* byName(sessions, ({ id }) => id)
    const byIdleMs = new Map<number, Set<SessionId>>()
    const pinned: SessionPin[] = []
    let length = 0
    for (const [place, session] of sessions.entries()) {
      idsOf(byIdleMs, session.idleMs).add(session.id)
      length += sessionLength(session)
      pinned.push(...subscribedPins(session))
      if (place % restoredAtOnce === 0) yield
    }
    const ended = [...this.#sessions.keys()].filter((id) => !named.has(id))
    yield
    const commit = (): void => {
      this.#sessions = named
      this.#byIdleMs = byIdleMs
      this.#length = length
      for (const id of ended) this.#ended.push(id)
      this.#pinned = pinned
    }
    return { commit }
  }

  #open(opening: SessionOpening, { index, time }: Entry): CommandResult {
    if (this.#sessions.has(opening.id)) return refused('there is a session with this id')
    if (this.#sessions.size >= clientSessionsMax)
      return refused(`the cluster has ${clientSessionsMax} sessions already`)
    const session: SessionRecord = {
      ...opening,
      openedAt: time,
      usedAt: time,
      level: null,
      subscriptions: [],
      pins: new Map(),
    }
    if (this.#length + sessionLength(session) > sessionsLengthMax) return refused(tooMuchText)
    this.#changing(opening.id, { before: undefined, after: session })
    this.#length += sessionLength(session)
    this.#sessions.set(opening.id, session)
    idsOf(this.#byIdleMs, opening.idleMs).add(opening.id)
    return { kind: 'done', revision: index }
  }

  #close(id: SessionId, index: Revision): CommandResult {
    const session = this.#sessions.get(id)
    if (session === undefined) return { kind: 'not-found' }
    this.#end(session)
    return { kind: 'done', revision: index }
  }

  /** Those that there are. */
  #touch(ids: readonly SessionId[], { index, time }: Entry): CommandResult {
    for (const id of ids) {
      const session = this.#sessions.get(id)
      if (session === undefined || session.usedAt === time) continue
      const peers = idsOf(this.#byIdleMs, session.idleMs)
      const touched = { ...session, usedAt: time }
      this.#changing(id, { before: session, after: touched })
      this.#sessions.delete(id)
      this.#sessions.set(id, touched)
      peers.delete(id)
      peers.add(id)
    }
    return { kind: 'done', revision: index }
  }

  #setLevel(id: SessionId, level: LogLevel, index: Revision): CommandResult {
    return this.#change(id, index, (session) => (session.level === level ? session : { ...session, level }))
  }

  #subscribe(id: SessionId, wanted: Subscription, index: Revision): CommandResult {
    return this.#change(id, index, (session) => {
      const { subscriptions } = session
      if (subscriptions.some((each) => same(each, wanted))) return session
      if (subscriptions.length >= subscriptionsMax) return `the session has ${subscriptionsMax} subscriptions already`
      if (this.#length + wanted.uri.length > sessionsLengthMax) return tooMuchText
      const node = session.pins.get(wanted.server)
      if (node !== undefined) this.#pinned.push({ session: id, server: wanted.server, node })
      return { ...session, subscriptions: [...subscriptions, wanted] }
    })
  }

  /** What was not subscribed is done already. */
  #unsubscribe(id: SessionId, unwanted: Subscription, index: Revision): CommandResult {
    return this.#change(id, index, (session) => {
      const subscriptions = session.subscriptions.filter((each) => !same(each, unwanted))
      return subscriptions.length === session.subscriptions.length ? session : { ...session, subscriptions }
    })
  }

  /** A server that is pinned anew is the newest. */
  #pin(
    id: SessionId,
    { server, node }: { readonly server: ServerName; readonly node: NodeId },
    index: Revision,
  ): CommandResult {
    return this.#change(id, index, (session) => {
      if (session.pins.get(server) === node) return session
      this.#pinned.push({ session: id, server, node })
      const others = [...session.pins].filter(([other]) => other !== server)
      const pins = new Map([...others.slice(-(pinsMax - 1)), [server, node]])
      return { ...session, pins }
    })
  }

  /** `changed`: the session as it was, as it is to be, or why it may not. */
  #change(id: SessionId, index: Revision, changed: (session: SessionRecord) => SessionRecord | string): CommandResult {
    const session = this.#sessions.get(id)
    if (session === undefined) return { kind: 'not-found' }
    const after = changed(session)
    if (typeof after === 'string') return refused(after)
    if (after !== session) {
      this.#changing(id, { before: session, after })
      this.#length += sessionLength(after) - sessionLength(session)
      this.#sessions.set(id, after)
    }
    return { kind: 'done', revision: index }
  }

  #end(session: SessionRecord): void {
    const { id, idleMs } = session
    this.#changing(id, { before: session, after: undefined })
    this.#length -= sessionLength(session)
    this.#sessions.delete(id)
    const peers = idsOf(this.#byIdleMs, idleMs)
    peers.delete(id)
    if (peers.size === 0) this.#byIdleMs.delete(idleMs)
    this.#ended.push(id)
  }
}

type SessionCommand = Extract<Command, { readonly kind: `session-${string}` }>

/** Where a command stands: its index, and log time there. */
type Entry = { readonly index: Revision; readonly time: number }

const restoredAtOnce = 1024
const tooMuchText = `the sessions of the cluster hold ${sessionsLengthMax} characters already`

function idsOf(byIdleMs: Map<number, Set<SessionId>>, idleMs: number): Set<SessionId> {
  const ids = byIdleMs.get(idleMs) ?? new Set()
  byIdleMs.set(idleMs, ids)
  return ids
}

function subscribedPins({ id, subscriptions, pins }: SessionRecord): SessionPin[] {
  const servers = new Set(subscriptions.map(({ server }) => server))
  return [...pins].filter(([server]) => servers.has(server)).map(([server, node]) => ({ session: id, server, node }))
}

function same(a: Subscription, b: Subscription): boolean {
  return a.uri === b.uri && a.server === b.server
}

function refused(reason: string): CommandResult {
  return { kind: 'refused', reason }
}
