import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Replica } from '../state/command.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import type { View } from './view.ts'

/**
 * Where a call may go: the nodes that run a ready replica of its server and can be reached, in the order in which to try
 * them. Round robin per server, those that are being drained behind all others; a call that no node can take gets an error
 * that says why.
 */
export type Route =
  | { readonly kind: 'nodes'; readonly nodes: readonly NodeId[] }
  | { readonly kind: 'nobody'; readonly error: OperatingError }

/** Turns of more servers than this are forgotten, and round robin begins anew. */
const turnsMax = 10_000

export class RoundRobin {
  readonly #turns = new Map<ServerName, number>()

  chooseReplicas(view: View, server: ServerName): Route {
    const replicas = view.replicasOf(server)
    const nodes = replicas
      .filter((replica) => replica.status === 'ready' && view.canReach(replica.node))
      .map((replica) => replica.node)
    if (nodes.length === 0) return { kind: 'nobody', error: nobodyError(view, server, replicas) }
    if (nodes.length === 1) return { kind: 'nodes', nodes }
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
