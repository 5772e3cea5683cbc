/**
 * The load while a scenario runs: on every node clients that write, read, read stale and call, for as long as it is
 * there. What each request asked and heard is the history that the checks judge; how fast it was is nobody's concern.
 */
import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Random } from '../../src/std/random.ts'
import { Caller, Reader, StaleReader, Writer, type ClientParts } from './clients.ts'
import { Requests } from './requests.ts'
import type { CreateWorkload, History, NodeTarget, Operation, Workload, WorkloadOptions } from './types.ts'

const kinds = [
  { prefix: 'w', clients: 3, make: (parts: ClientParts) => new Writer(parts) },
  { prefix: 'r', clients: 2, make: (parts: ClientParts) => new Reader(parts) },
  { prefix: 's', clients: 1, make: (parts: ClientParts) => new StaleReader(parts) },
  { prefix: 'c', clients: 2, make: (parts: ClientParts) => new Caller(parts) },
]
/** How soon a node that is new gets its clients. */
const lookMs = 50

export const createWorkload: CreateWorkload = (options) => new Load(options)

class Load implements Workload {
  readonly #options: WorkloadOptions
  readonly #requests = new Requests()
  readonly #random: Random
  readonly #seen = new Map<string, number>()
  readonly #history: Operation[] = []
  readonly #stop = new AbortController()
  #targets: () => readonly NodeTarget[] = () => []
  #running: Promise<void> = Promise.resolve()

  constructor(options: WorkloadOptions) {
    this.#options = options
    this.#random = new Random(options.seed)
    // Every client listens while it pauses.
    setMaxListeners(0, this.#stop.signal)
  }

  start(targets: () => readonly NodeTarget[]): void {
    this.#targets = targets
    this.#running = this.#run()
  }

  async stop(): Promise<History> {
    this.#stop.abort()
    await this.#running
    await this.#requests.close()
    return this.history()
  }

  history(): History {
    return this.#history.toSorted((a, b) => a.calledUs - b.calledUs)
  }

  /** Gives every node that comes its clients, once at a time. */
  async #run(): Promise<void> {
    const busy = new Map<string, Promise<void>>()
    let started = 0
    while (!this.#stop.signal.aborted) {
      for (const { id } of this.#targets()) {
        if (busy.has(id)) continue
        started += 1
        const done = Promise.all(this.#clientsOf(id, started).map((client) => client.run()))
        busy.set(
          id,
          done.then(() => void busy.delete(id)),
        )
      }
      await sleep(lookMs, undefined, { signal: this.#stop.signal }).catch(() => undefined)
    }
    await Promise.all(busy.values())
  }

  /** `number` keeps the names, and so the values, of a node's earlier clients apart. */
  #clientsOf(home: string, number: number): { run(): Promise<void> }[] {
    const { now, weaken } = this.#options
    return kinds.flatMap(({ prefix, clients, make }) =>
      Array.from({ length: clients }, (_, at) =>
        make({
          name: `${prefix}${number}${'abc'[at] ?? ''}`,
          home,
          random: new Random(this.#random.uint32()),
          requests: this.#requests,
          now,
          targets: this.#targets,
          weaken,
          note: (operation) => this.#history.push(operation),
          seen: this.#seen,
          stopped: this.#stop.signal,
        }),
      ),
    )
  }
}
