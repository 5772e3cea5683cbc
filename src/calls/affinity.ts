import type { Affinity } from '../routing/choose.ts'
import type { View } from '../routing/view.ts'
import { jsonMembers } from '../std/json-text.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import { isIsolated } from '../vocabulary/isolation.ts'
import type { Call } from './call.ts'

/** What dispatch needs to know of clients' sessions. */
export type CallSessions = {
  /** Whether its client can be asked by a server. */
  asks(session: SessionId): boolean
  pinOf(session: SessionId, server: ServerName): NodeId | undefined
  /** Told to the cluster without waiting. */
  pin(session: SessionId, server: ServerName, node: NodeId): void
}

/**
 * Whether a call has to go where the other calls of its session to this server go: because its upstream there keeps something
 * for the session, be it the whole upstream, subscriptions or tasks. Null: any replica will do.
 */
export function affinityOf(call: Call, view: Pick<View, 'replicasOf'>, sessions: CallSessions): Affinity | null {
  if (call.origin === null) return null
  const { session } = call.origin
  if (!isBound(call) && !hasOwnUpstream(call.server, session, { view, sessions })) return null
  return { session, pin: sessions.pinOf(session, call.server) }
}

function hasOwnUpstream(
  server: ServerName,
  session: SessionId,
  { view, sessions }: { view: Pick<View, 'replicasOf'>; sessions: CallSessions },
): boolean {
  let asks: boolean | null = null
  for (const { isolation } of view.replicasOf(server)) {
    if (isolation === 'shared') continue
    asks ??= sessions.asks(session)
    if (isIsolated(isolation, { asks })) return true
  }
  return false
}

function isBound({ method, params }: Call): boolean {
  if (method === 'resources/subscribe' || method === 'resources/unsubscribe' || method.startsWith('tasks/')) return true
  // A call that begins a task, which is asked for later.
  return params.includes('"task"') && jsonMembers(params).has('task')
}
