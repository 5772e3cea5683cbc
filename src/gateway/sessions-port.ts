import type { SessionOpening, SessionRecord } from '../state/command.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import type { LogLevel } from '../vocabulary/log-level.ts'

/**
 * What the gateway needs of the cluster's session records. They are replicated: every node serves every session. Changes
 * reject with an OperatingError (`no-quorum`, `no-leader`, `overloaded`, `outcome-unknown`, ...) and otherwise resolve when
 * they are committed and applied here.
 */
export type ClusterSessions = {
  /** Rejects with `overloaded` when the cluster has as many as it may. */
  open(opening: SessionOpening): Promise<void>
  /** As this node knows it. */
  find(id: SessionId): SessionRecord | undefined
  /** As `find`, but what is not here is looked for again after this node has caught up with the leader once. */
  seek(id: SessionId): Promise<SessionRecord | undefined>
  /** Whether its client can be asked by a server. */
  asks(id: SessionId): boolean
  /** False: there was none. */
  close(id: SessionId): Promise<boolean>
  /** It is in use: costs nothing now, and is told to the cluster with others later. */
  touch(id: SessionId): void
  setLevel(id: SessionId, level: LogLevel): Promise<void>
  subscribe(id: SessionId, subscription: { readonly server: ServerName; readonly uri: string }): Promise<void>
  unsubscribe(id: SessionId, subscription: { readonly server: ServerName; readonly uri: string }): Promise<void>
  all(): readonly SessionRecord[]
  readonly count: number
  /** Told when sessions have ended, wherever they were closed or have expired; answers how to unsubscribe. */
  onEnded(listener: (ids: readonly SessionId[]) => void): () => void
}

/** Where calls of a session go for a server that keeps state by session. */
export type SessionPins = {
  pinOf(session: SessionId, server: ServerName): NodeId | undefined
  /** Told to the cluster without waiting. */
  pin(session: SessionId, server: ServerName, node: NodeId): void
}
