import type { Caller } from '../calls/call.ts'
import type { Clock } from '../std/clock.ts'
import type { NodeId } from '../vocabulary/ids.ts'

/** Those that wait for the link to a node to come, because a call of theirs is there: not long, as the node may be dead. */
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
  wait(node: NodeId, caller: Gone | null, withinMs = this.#options.linkWaitMs): Promise<void> {
    const { cancelled, left } = caller ?? { cancelled: null, left: null }
    if (this.#isStopped || cancelled?.aborted === true || left?.aborted === true) return Promise.resolve()
    return new Promise((resolve) => {
      const waits = this.#waits.get(node) ?? new Set()
      const end = (): void => {
        timer.cancel()
        cancelled?.removeEventListener('abort', end)
        left?.removeEventListener('abort', end)
        waits.delete(end)
        if (waits.size === 0 && this.#waits.get(node) === waits) this.#waits.delete(node)
        resolve()
      }
      const timer = this.#options.clock.after(withinMs, end)
      cancelled?.addEventListener('abort', end)
      left?.addEventListener('abort', end)
      this.#waits.set(node, waits.add(end))
    })
  }
}

type Gone = Pick<Caller, 'cancelled' | 'left'>

export type LinkWaitsOptions = {
  readonly clock: Pick<Clock, 'after'>
  /** Beyond it the outcome is unknown; what died with its node has to be answered within 3 s. */
  readonly linkWaitMs: number
}
