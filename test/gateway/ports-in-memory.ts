import type { HandAnswer, Handing, Mail, MailPosition, MailReader, Mailroom, TakeHanded } from '../../src/calls/call.ts'
import type { ClusterSessions } from '../../src/gateway/sessions-port.ts'
import type { SessionOpening, SessionRecord, Subscription } from '../../src/state/command.ts'
import type { NodeId, SessionId } from '../../src/vocabulary/ids.ts'
import { canBeAsked } from '../../src/vocabulary/isolation.ts'
import type { LogLevel } from '../../src/vocabulary/log-level.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'

/** The cluster's sessions in memory; several gateways may share them, as nodes of one cluster do. */
export class SessionsInMemory implements ClusterSessions {
  readonly records = new Map<SessionId, SessionRecord>()
  readonly listeners = new Set<(ids: readonly SessionId[]) => void>()
  readonly touched: SessionId[] = []
  /** Set: every change, and every search, is refused with it. */
  failure: Error | null = null
  max = 1000
  /** What only `seek` finds. */
  readonly elsewhere = new Map<SessionId, SessionRecord>()

  get count(): number {
    return this.records.size
  }

  async open(opening: SessionOpening): Promise<void> {
    this.#check()
    if (this.count >= this.max)
      throw new OperatingError('overloaded', 'all sessions are taken', { retry: 'after', retryAfterMs: 10_000 })
    const record = { ...opening, openedAt: 0, usedAt: 0, level: null, subscriptions: [], pins: new Map() }
    this.records.set(opening.id, record)
  }

  find(id: SessionId): SessionRecord | undefined {
    return this.records.get(id)
  }

  async seek(id: SessionId): Promise<SessionRecord | undefined> {
    this.#check()
    const found = this.elsewhere.get(id)
    if (found !== undefined) this.records.set(id, found)
    return this.find(id)
  }

  asks(id: SessionId): boolean {
    return canBeAsked(JSON.parse(this.find(id)?.capabilities ?? '{}') as Record<string, unknown>)
  }

  async close(id: SessionId): Promise<boolean> {
    this.#check()
    return this.end(id)
  }

  /** As by expiry. */
  end(id: SessionId): boolean {
    if (!this.records.delete(id)) return false
    for (const listener of this.listeners) listener([id])
    return true
  }

  touch(id: SessionId): void {
    this.touched.push(id)
  }

  async setLevel(id: SessionId, level: LogLevel): Promise<void> {
    this.#change(id, () => ({ level }))
  }

  async subscribe(id: SessionId, subscription: Subscription): Promise<void> {
    this.#change(id, ({ subscriptions }) => ({ subscriptions: [...subscriptions, subscription] }))
  }

  async unsubscribe(id: SessionId, { server, uri }: Subscription): Promise<void> {
    this.#change(id, ({ subscriptions }) => ({
      subscriptions: subscriptions.filter((each) => each.server !== server || each.uri !== uri),
    }))
  }

  all(): readonly SessionRecord[] {
    return [...this.records.values()]
  }

  onEnded(listener: (ids: readonly SessionId[]) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  #change(id: SessionId, change: (record: SessionRecord) => Partial<SessionRecord>): void {
    this.#check()
    const record = this.records.get(id)
    if (record !== undefined) this.records.set(id, { ...record, ...change(record) })
  }

  #check(): void {
    if (this.failure !== null) throw this.failure
  }
}

/** Mail that a test delivers by hand to whoever reads. */
export class MailInMemory implements Mailroom {
  readonly readings: Reading[] = []

  read(session: SessionId, positions: ReadonlyMap<NodeId, MailPosition>, reader: MailReader): () => void {
    for (const before of this.readings)
      if (before.session === session && before.isOpen) {
        before.isOpen = false
        before.reader.displaced()
      }
    const reading: Reading = { session, positions, reader, isOpen: true }
    this.readings.push(reading)
    return () => {
      reading.isOpen = false
    }
  }

  /** To the newest reading of all. */
  deliver(node: string, epoch: number, mail: Mail): void {
    this.readings.at(-1)?.reader.mail(node as NodeId, epoch, mail)
  }
}

/** Messages handed from gateway to gateway; `nodes`: those that can be reached, of all of them. */
export class HandingInMemory implements Handing {
  readonly #self: NodeId
  readonly #nodes: Map<NodeId, TakeHanded>

  constructor(self: NodeId, nodes: Map<NodeId, TakeHanded>) {
    this.#self = self
    this.#nodes = nodes
  }

  async hand(node: NodeId, session: SessionId, message: Uint8Array): Promise<HandAnswer> {
    const take = this.#nodes.get(node)
    if (take === undefined)
      throw new OperatingError('server-unavailable', `no way to ${node}`, { retry: 'after', retryAfterMs: 1000 })
    return take(session, message)
  }

  onHanded(take: TakeHanded): () => void {
    this.#nodes.set(this.#self, take)
    return () => void this.#nodes.delete(this.#self)
  }
}

type Reading = {
  readonly session: SessionId
  readonly positions: ReadonlyMap<NodeId, MailPosition>
  readonly reader: MailReader
  isOpen: boolean
}
