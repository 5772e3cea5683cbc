import type { RaftStatus } from '../../src/raft/effects.ts'
import type { Term } from '../../src/raft/entry.ts'
import type { Message } from '../../src/raft/messages.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'

/** With these a member answers who leads its term. */
const answers: ReadonlySet<Message['kind']> = new Set<Message['kind']>([
  'append-accepted',
  'append-rejected',
  'heartbeat-response',
  'recovery-request',
  'snapshot-installed',
])

/** Who answers one process as its leader: read off what its core is given, whatever that makes of it. Times are its own clock's. */
export class Answers {
  readonly #electionTimeoutMs: number
  readonly #last = new Map<NodeId, { readonly term: Term; readonly atMs: number }>()
  #atStatus: ReadonlySet<NodeId> = new Set()

  constructor(electionTimeoutMs: number) {
    this.#electionTimeoutMs = electionTimeoutMs
  }

  /** Who had answered in its term so shortly before the last status was made that this had to say so. */
  get atStatus(): ReadonlySet<NodeId> {
    return this.#atStatus
  }

  received({ kind, from, term }: Message, atMs: number): void {
    if (answers.has(kind)) this.#last.set(from, { term, atMs })
  }

  /** However late single ticks are, those of an election timeout take half of its time at least. */
  statusMade(status: RaftStatus | null, nowMs: number): void {
    const fresh = [...this.#last].filter(
      ([, { term, atMs }]) => term === status?.term && nowMs - atMs <= this.#electionTimeoutMs / 2,
    )
    this.#atStatus = new Set(fresh.map(([node]) => node))
  }
}
