import type { JsonText } from '../std/json-text.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import type { Drain, JoinToken, Member, Replica, Revision, SessionRecord } from './command.ts'

/** What the rest of a node may read of the replicated state. Synchronous; what it returns is never changed afterwards. */
export type StateReader = {
  /** Raft index of the last applied entry; 0 before the first. */
  readonly appliedIndex: number
  /** Grows with every change to replicas, members or drains; equal versions mean equal contents. */
  readonly catalogVersion: number
  /** How many results of writes under an idempotency key are kept. */
  readonly answerCount: number
  kvGet(key: string): KvEntry | undefined
  /** Keys with the prefix that are greater than `after`, in bytewise order; `next` is the last key when more follow. */
  kvList(options: { prefix: string; after: string | null; limit: number }): {
    readonly entries: readonly KvEntry[]
    readonly next: string | null
  }
  /** Sorted by node id. */
  members(): readonly Member[]
  /** Sorted by server, then node id. */
  replicas(): readonly Replica[]
  /** The join tokens that are known, by creation, then id; those that are over among them. */
  tokens(): readonly JoinToken[]
  token(id: string): JoinToken | undefined
  /** The sessions of MCP clients, in the order of their last use. */
  clientSessions(): readonly SessionRecord[]
  clientSession(id: SessionId): SessionRecord | undefined
  readonly clientSessionCount: number
  /** Log time at which the next of them expires unless it is used; null: there is none. */
  readonly nextSessionEnd: number | null
  /** What operators want of nodes. */
  drains(): ReadonlyMap<NodeId, Drain>
  /** The newest check indexes of which there is anything to say, newest first. */
  checks(): readonly StateCheck[]
}

/** What the states of nodes were found to be at one index: equal digests mean equal states. */
export type StateCheck = {
  readonly index: Revision
  /** This node's own; null: it has not been there in this process's life. */
  readonly own: string | null
  /** What nodes reported. */
  readonly reports: ReadonlyMap<NodeId, string>
}

export type KvEntry = { readonly key: string; readonly value: JsonText; readonly revision: Revision }

/** Told after each applied batch of entries. `kv`: every change in the order of its application. */
export type StateChange = {
  readonly kv: readonly KvEvent[]
  /** Replicas or drains. */
  readonly catalog: boolean
  /** Members or drains. */
  readonly members: boolean
  readonly tokens: boolean
  /** Sessions of clients that were closed or have expired. */
  readonly sessionsEnded: readonly SessionId[]
  /** Sessions that were pinned, or are pinned and have subscribed to something. */
  readonly sessionsPinned: readonly SessionPin[]
  /** A check index was reached, or a report of one came. */
  readonly checks: boolean
}

/** The node keeps what the server keeps for the session. */
export type SessionPin = { readonly session: SessionId; readonly server: ServerName; readonly node: NodeId }

/** One change of one key; `revision` is the index of the entry that made it, and no two share one. */
export type KvEvent =
  | { readonly kind: 'put'; readonly key: string; readonly value: JsonText; readonly revision: Revision }
  | { readonly kind: 'delete'; readonly key: string; readonly revision: Revision }
