import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Replica } from '../state/command.ts'
import { SequenceHash } from '../std/hash.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId, ServerName, SessionId } from '../vocabulary/ids.ts'
import type { View } from './view.ts'

/**
 * Where a call may go: the nodes that run a ready replica of its server and can be reached, in the order in which to try
 * them. Round robin per server, or always the same for a session that has something there; those that are being drained
 * behind all others; a call that no node can take gets an error that says why.
 */
export type Route =
  | { readonly kind: 'nodes'; readonly nodes: readonly NodeId[] }
  | { readonly kind: 'nobody'; readonly error: OperatingError }

/** Of a call that is to go where its session's calls to the server go. */
export type Affinity = {
  readonly session: SessionId
  /** Where they went before; it is left only when it can not take a call, or drains and another can. */
  readonly pin: NodeId | undefined
}

/** Turns of more servers than this are forgotten, and round robin begins anew. */
const turnsMax = 10_000

export class RoundRobin {
  readonly #turns = new Map<ServerName, number>()

  chooseReplicas(view: View, server: ServerName, affinity: Affinity | null): Route {
    const replicas = view.replicasOf(server)
    const nodes = replicas
      .filter((replica) => replica.status === 'ready' && view.canReach(replica.node))
      .map((replica) => replica.node)
    if (nodes.length === 0) return { kind: 'nobody', error: nobodyError(view, server, replicas) }
    if (nodes.length === 1) return { kind: 'nodes', nodes }
    if (affinity !== null) return { kind: 'nodes', nodes: byAffinity(nodes, view, affinity) }
    const turn = this.#nextTurn(server)
    const draining = nodes.filter((node) => view.isDraining(node))
    if (draining.length === 0) return { kind: 'nodes', nodes: fromTurn(nodes, turn) }
    const others = nodes.filter((node) => !draining.includes(node))
    return { kind: 'nodes', nodes: [...fromTurn(others, turn), ...fromTurn(draining, turn)] }
  }

  #nextTurn(server: ServerName): number {
    const turn = this.#turns.get(server) ?? 0
    if (turn === 0 && this.#turns.size >= turnsMax) this.#turns.clear()
    this.#turns.set(server, (turn + 1) % Number.MAX_SAFE_INTEGER)
    return turn
  }
}

/**
 * The pin, then the others by rendezvous: every node orders them alike for a session, and one that comes or goes moves
 * only the sessions that it takes or had. What a draining node keeps for a session it is about to lose anyway: the session
 * begins anew elsewhere while its calls can still end there.
 */
function byAffinity(nodes: readonly NodeId[], view: View, { session, pin }: Affinity): NodeId[] {
  const rank = (node: NodeId): number => (view.isDraining(node) ? 2 : 0) + (node === pin ? 0 : 1)
  return nodes
    .map((node) => ({ node, rank: rank(node), weight: weightOf(session, node) }))
    .sort((a, b) => a.rank - b.rank || b.weight - a.weight || compareIds(a.node, b.node))
    .map(({ node }) => node)
}

const hash = new SequenceHash()

function weightOf(session: SessionId, node: NodeId): number {
  hash.begin(0)
  hash.add(session)
  hash.add(node)
  hash.end()
  return hash.high >>> 0
}

function fromTurn(nodes: readonly NodeId[], turn: number): NodeId[] {
  const first = turn % Math.max(1, nodes.length)
  return [...nodes.slice(first), ...nodes.slice(0, first)]
}

function nobodyError(view: View, server: ServerName, replicas: readonly Replica[]): OperatingError {
  if (replicas.length === 0)
    return new OperatingError('server-unavailable', `server ${server} is unknown or no running node offers it`)
  const ready = replicas.filter((replica) => replica.status === 'ready')
  const reasons = [
    ...(ready.length === 0 ? [] : [`${nodeList(ready)} can not be reached from node ${view.self}`]),
    ...replicas
      .filter((replica) => replica.status !== 'ready')
      .map(
        ({ node, status, reason }) => `on node ${node} it ${stateWord[status]}${reason === '' ? '' : ` (${reason})`}`,
      ),
  ]
  return new OperatingError(
    'server-unavailable',
    `server ${server} has no replica for the call: ${reasons.join('; ')}`,
    {
      retry: 'after',
    },
  )
}

const stateWord: Readonly<Record<Replica['status'], string>> = {
  starting: 'is starting',
  ready: 'is ready',
  failed: 'has failed',
}

function nodeList(replicas: readonly Replica[]): string {
  const names = replicas.map((replica) => replica.node).join(', ')
  return replicas.length === 1 ? `node ${names}` : `nodes ${names}`
}
