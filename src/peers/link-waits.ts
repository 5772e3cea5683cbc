import type { Caller } from '../calls/call.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { NodeId } from '../vocabulary/ids.ts'

/**
 * Those that wait for the link to a node to come, because a call of theirs is there: not long, as the node may be dead. Time is
 * counted in beats, and the limit asked for at each, so that after a pause of this process what came meanwhile is seen first.
 */
export class LinkWaits {
  readonly #options: LinkWaitsOptions
  readonly #waits = new Map<NodeId, Set<() => void>>()
  #isStopped = false

  constructor(options: LinkWaitsOptions) {
    this.#options = options
  }

  /** The link to the peer is there. */
  opened(peer: NodeId): void {
    const waits = this.#waits.get(peer)
    this.#waits.delete(peer)
    for (const end of waits ?? []) end()
  }

  stop(): void {
    this.#isStopped = true
    for (const node of this.#waits.keys()) this.opened(node)
  }

  /** Until the link is there, the time is over, the caller has gone, if there is one, or nobody waits any more. */
  wait(node: NodeId, caller: Gone | null, limitMs = () => this.#options.linkWaitMs(node)): Promise<void> {
    const { cancelled, left } = caller ?? { cancelled: null, left: null }
    if (this.#isStopped || cancelled?.aborted === true || left?.aborted === true) return Promise.resolve()
    return new Promise((resolve) => {
      const waits = this.#waits.get(node) ?? new Set()
      const end = (): void => {
        timer?.cancel()
        cancelled?.removeEventListener('abort', end)
        left?.removeEventListener('abort', end)
        waits.delete(end)
        if (waits.size === 0 && this.#waits.get(node) === waits) this.#waits.delete(node)
        resolve()
      }
      let waitedMs = 0
      let timer: Timer | null = null
      const beat = (): void => {
        const ms = Math.min(beatMs, limitMs() - waitedMs)
        if (ms <= 0) return end()
        timer = this.#options.clock.after(ms, () => {
          waitedMs += ms
          beat()
        })
      }
      cancelled?.addEventListener('abort', end)
      left?.addEventListener('abort', end)
      this.#waits.set(node, waits.add(end))
      beat()
    })
  }
}

type Gone = Pick<Caller, 'cancelled' | 'left'>

export type LinkWaitsOptions = {
  readonly clock: Pick<Clock, 'after'>
  /** Beyond it the outcome is unknown; as much as is known of the node now. */
  readonly linkWaitMs: (node: NodeId) => number
}

const beatMs = 100
