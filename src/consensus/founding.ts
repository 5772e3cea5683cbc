import type { Configuration } from '../raft/configuration.ts'
import type { HardState } from '../raft/entry.ts'
import type { StoredNode } from '../storage/log-store.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import type { FormingMessage } from '../wire/forming.ts'
import type { ConsensusEvents } from './consensus.ts'
import { formedBy, formedIn } from './first-entry.ts'
import { Forming } from './forming.ts'
import type { FormingEvent } from './forming.ts'
import type { LogWriter } from './log-writer.ts'
import type { Recovered } from './recovery.ts'

/**
 * The driver of forming: says and writes what that core wants, and starts Raft once this node belongs to a cluster, be it
 * that it formed one or that it joined one. A node that has lost its log proposes no cluster: it may have formed one. What it
 * promised and what it joined it still knows, and goes on with.
 */
export class Founding {
  readonly #options: FoundingOptions
  readonly #forming: Forming
  #formed: Configuration | null
  #waitingFor: string | null = null

  /** Error `storage-failed` when the log and what the data directory is bound to do not belong together. */
  constructor(options: FoundingOptions) {
    const { stored, recovered, bootstrapExpect, newClusterId } = options
    this.#options = options
    this.#formed = formedIn({ ...stored, ...recovered })
    this.#forming = new Forming({
      self: stored.nodeId,
      bootstrapExpect,
      isLogLost: this.#formed === null && stored.joined === null && recovered.hardState.isRecovering,
      promise: stored.promise,
      joined: stored.joined,
      formed: this.#formed?.clusterId ?? null,
      newClusterId,
    })
  }

  /** What the log began with, once there is one. */
  get formed(): Configuration | null {
    return this.#formed
  }

  get promised(): ClusterId | null {
    return this.#forming.promised
  }

  get joined(): ClusterId | null {
    return this.#forming.joined
  }

  /** A sentence, while this node has no log. */
  get waitingFor(): string | null {
    return this.#waitingFor
  }

  start(): void {
    const { stored, recovered, startRaft } = this.#options
    if (this.#formed !== null || stored.joined !== null) startRaft(recovered)
    this.#perform()
  }

  step(event: FormingEvent): void {
    this.#forming.step(event)
    this.#perform()
  }

  /** This node has a log now, or something else has changed that it may wait for. */
  showWaiting(): void {
    const { hasLog, log, changed } = this.#options
    const waitingFor = this.joined !== null && hasLog() ? null : this.#forming.waitingFor()
    if (waitingFor === this.#waitingFor) return
    this.#waitingFor = waitingFor
    if (waitingFor !== null) log('info', 'forming-waits', { waitingFor })
    changed()
  }

  #perform(): void {
    const { persistPromise, form, persistJoined, send, notices } = this.#forming.take()
    const { writer, startRaft, recovered, log } = this.#options
    for (const { event, fields } of notices) log('warn', event, fields)
    for (const { to, message } of send) this.#options.send(to, message)
    if (persistPromise !== null) {
      writer.perform(
        (store) => store.writePromise(persistPromise),
        () => this.step({ kind: 'promise-durable' }),
      )
    }
    if (form !== null) {
      const { entry } = form
      const hardState = formingHardState(form.hardState, recovered.hardState)
      const batch = { hardState, install: null, compact: null, truncateFrom: null, entries: [entry], sync: true }
      writer.perform(
        (store) => store.write(batch),
        () => {
          const formed = formedBy(entry)
          this.#formed = formed
          log('info', 'cluster-formed', { clusterId: formed.clusterId, voters: formed.voters })
          startRaft({ snapshot: null, entries: [entry], hardState })
          this.step({ kind: 'formed-durable' })
        },
      )
    }
    if (persistJoined !== null) {
      writer.perform(
        (store) => store.writeJoined(persistJoined),
        () => {
          log('info', 'cluster-joined', { clusterId: persistJoined })
          startRaft({ snapshot: null, entries: [], hardState: { ...recovered.hardState, isRecovering: true } })
          this.step({ kind: 'joined-durable' })
        },
      )
    }
    this.showWaiting()
  }
}

/** Entry 1 is alike on all; what a node that has lost its log knows of its terms and votes is not undone by it. */
function formingHardState(first: HardState, { term, vote, isRecovering }: HardState): HardState {
  return isRecovering ? { ...first, term: Math.max(first.term, term), vote, isRecovering } : first
}

export type FoundingOptions = {
  readonly stored: StoredNode
  readonly recovered: Recovered
  readonly bootstrapExpect: number | null
  readonly newClusterId: ClusterId
  readonly writer: LogWriter
  readonly send: (to: NodeId, message: FormingMessage) => void
  readonly startRaft: (recovered: Recovered) => void
  readonly hasLog: () => boolean
  readonly changed: () => void
  readonly log: ConsensusEvents['log']
}
