/** What happens in a run, in the order in which it was heard of: steps, processes, and what each node tells of the cluster. */
import { setTimeout as sleep } from 'node:timers/promises'
import { readEvents } from '../../src/cli/event-stream.ts'
import { getJson } from '../lib/node-process.ts'
import type { NodeTarget, Phase, Timeline, TimelineEntry } from './types.ts'

/** An entry without its time. */
type Told<T = TimelineEntry> = T extends TimelineEntry ? Omit<T, 'atUs'> : never

/** Until a node is asked again that did not answer or ended its stream. */
const againMs = 250
const memberEvents: ReadonlySet<string> = new Set([
  'joined',
  'alive',
  'suspect',
  'dead',
  'left',
  'forgotten',
  'drained',
])

export class Recorder {
  readonly now: () => number
  readonly #entries: TimelineEntry[] = []
  readonly #stop = new AbortController()
  #beganMs = performance.now()
  readonly #following: Promise<void>[] = []

  constructor() {
    this.now = () => Math.round((performance.now() - this.#beganMs) * 1000)
  }

  get timeline(): Timeline {
    return this.#entries
  }

  /** Times count from here. */
  begin(): void {
    this.#beganMs = performance.now()
    this.phase('workload-started')
  }

  tell(entry: Told): void {
    this.#entries.push({ ...entry, atUs: this.now() })
  }

  phase(phase: Phase): void {
    this.tell({ kind: 'phase', phase })
  }

  /** Listens to the node's /v1/events from now on, through all its lives. */
  follow(node: NodeTarget): void {
    this.#following.push(this.#followForever(node))
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#following)
  }

  async #followForever(node: NodeTarget): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      await this.#followOnce(node).catch(() => undefined)
      await sleep(againMs, undefined, { signal }).catch(() => undefined)
    }
  }

  async #followOnce({ id, url }: Pick<NodeTarget, 'id' | 'url'>): Promise<void> {
    const response = await fetch(`${url}/v1/events`, { signal: this.#stop.signal })
    if (response.body === null) return
    if (!response.ok) return response.body.cancel()
    for await (const { event, data } of readEvents(response.body)) {
      if (event === 'open') await this.#askLeader({ id, url })
      else this.#heard(id, event, JSON.parse(data))
    }
  }

  /** Who led before the node was listened to; what changes from now on it tells itself. */
  async #askLeader({ id, url }: Pick<NodeTarget, 'id' | 'url'>): Promise<void> {
    const raft = await getJson(`${url}/v1/raft`)
    if (typeof raft?.['leader'] === 'string') this.#heard(id, 'leader-changed', raft)
  }

  #heard(seenBy: string, event: string, told: Readonly<Record<string, unknown>>): void {
    if (event === 'leader-changed') {
      const leader = typeof told['leader'] === 'string' ? told['leader'] : null
      this.tell({ kind: 'leader', seenBy, leader, term: Number(told['term']) })
    } else if (event === 'configuration-changed') {
      const { voters, learners } = told as { voters: readonly string[]; learners: readonly string[] }
      this.tell({ kind: 'configuration', seenBy, voters, learners })
    } else if (memberEvents.has(event)) {
      this.tell({ kind: 'member', seenBy, node: String(told['node']), event })
    }
  }
}
