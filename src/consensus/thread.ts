import { Worker } from 'node:worker_threads'
import { unreachable } from '../std/assert.ts'
import { deferred } from '../std/deferred.ts'
import type { Index } from '../raft/entry.ts'
import type { ProposalContent } from '../raft/messages.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Consensus, ConsensusEvents, ConsensusOptions, ConsensusStarted } from './consensus.ts'
import { appliedLagMax, appliedLagMs, portBytesMax, portProposalsMax, portReadsMax, stopDeadlineMs } from './limits.ts'
import { fromPlainError, ownBytes, packCommands, unpackEntries } from './thread-messages.ts'
import type { Command, FromThread, ToThread } from './thread-messages.ts'

/**
 * Consensus in a thread of its own, so that nothing the main thread does can delay a heartbeat. The same port as the loop's;
 * a thread that dies is a failure of the node. Runs from the built files only: a worker can not load TypeScript.
 */
export function startConsensusThread(options: ConsensusOptions, events: ConsensusEvents): Promise<ConsensusStarted> {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { name: 'consensus', workerData: options })
  return attachThread(worker, events)
}

/** Takes over a worker that speaks as consensus/worker does; resolves once it has started. */
export function attachThread(worker: Worker, events: ConsensusEvents): Promise<ConsensusStarted> {
  return new ConsensusThread(worker, events).started
}

class ConsensusThread implements Consensus {
  readonly #worker: Worker
  readonly #events: ConsensusEvents
  readonly #started = deferred<ConsensusStarted>()
  readonly #exited = deferred<void>()
  /** Posted when what has come in from outside has been read, in one message each: requests of many sockets gather. */
  #outbox: Command[] = []
  #readsOutbox: number[] = []
  #applied: Index = 0
  #toldApplied: Index = 0
  #applyTimer: NodeJS.Timeout | undefined
  #flushIsDue = false
  /** Asked for and not answered. */
  readonly #reads = new Set<number>()
  /** Handed in and not yet known to have reached the loop: bounded, since a port is not. */
  #underWay = { proposals: 0, bytes: 0 }
  #state: 'starting' | 'running' | 'failed' | 'stopping' | 'exited' = 'starting'

  constructor(worker: Worker, events: ConsensusEvents) {
    this.#worker = worker
    this.#events = events
    worker.on('message', (message: FromThread) => this.#receive(message))
    worker.on('error', (error) => this.#fail(crashed(error)))
    worker.on('messageerror', (error) => this.#fail(crashed(error)))
    worker.on('exit', (code) => {
      if (this.#state !== 'stopping') this.#fail(crashed(new Error(`it ended with code ${code}`)))
      this.#state = 'exited'
      this.#exited.resolve()
    })
  }

  get started(): Promise<ConsensusStarted> {
    return this.#started.promise
  }

  propose(id: ProposalId, content: ProposalContent): void {
    if (this.#state !== 'running') return this.#events.refused(id, 'no-leader')
    const { proposals, bytes } = this.#underWay
    const length = content.kind === 'command' ? content.data.length : 0
    if (proposals >= portProposalsMax || bytes + length > portBytesMax) return this.#events.refused(id, 'overloaded')
    this.#underWay = { proposals: proposals + 1, bytes: bytes + length }
    if (content.kind === 'change') return this.#post({ kind: 'propose-change', id, change: content.change })
    this.#outbox.push({ id, data: content.data })
    return this.#flushSoon()
  }

  read(id: number): void {
    if (this.#state !== 'running' || this.#reads.size >= portReadsMax) return this.#events.readRefused(id)
    this.#reads.add(id)
    this.#readsOutbox.push(id)
    return this.#flushSoon()
  }

  transfer(to: NodeId | null): void {
    if (this.#state === 'running') this.#post({ kind: 'transfer', to })
  }

  applied(index: Index): void {
    if (this.#state !== 'running') return
    this.#applied = index
    if (index - this.#toldApplied >= appliedLagMax) this.#tellApplied()
    else this.#applyTimer ??= setTimeout(() => this.#tellApplied(), appliedLagMs)
  }

  /** The bytes are handed over: the caller has them no more. */
  saveSnapshot({ index, bytes }: { readonly index: Index; readonly bytes: Uint8Array }): void {
    if (this.#state !== 'running') return
    const own = ownBytes(bytes)
    this.#tellApplied()
    this.#post({ kind: 'save-snapshot', index, bytes: own }, [own.buffer])
  }

  condemn(why: string): void {
    if (this.#state === 'running') this.#post({ kind: 'condemn', why })
  }

  learnPeer(node: NodeId, raftAddress: string): void {
    if (this.#state === 'running') this.#post({ kind: 'learn-peer', node, raftAddress })
  }

  async stop(): Promise<void> {
    if (this.#state !== 'exited') this.#state = 'stopping'
    clearTimeout(this.#applyTimer)
    await this.#end()
  }

  #receive(message: FromThread): void {
    switch (message.kind) {
      case 'started':
        if (this.#state !== 'starting') return undefined
        this.#state = 'running'
        return this.#started.resolve({ consensus: this, ...message.started })
      case 'start-failed':
        return this.#fail(fromPlainError(message.error))
      case 'taken': {
        const { proposals, bytes } = this.#underWay
        this.#underWay = { proposals: proposals - message.count, bytes: bytes - message.bytes }
        return undefined
      }
      case 'log':
        return this.#events.log(message.level, message.event, message.fields)
      case 'failed':
        return this.#fail(fromPlainError(message.error))
      case 'committed':
        return this.#isHeard ? this.#events.committed(unpackEntries(message.block)) : undefined
      case 'restore':
        return this.#isHeard ? this.#events.restore({ ...message.snapshot, bytes: message.bytes }) : undefined
      case 'refused':
        return this.#isHeard ? this.#events.refused(message.id, message.why) : undefined
      case 'readable':
        this.#reads.delete(message.id)
        return this.#isHeard ? this.#events.readable(message.id, message.index) : undefined
      case 'read-refused':
        this.#reads.delete(message.id)
        return this.#isHeard ? this.#events.readRefused(message.id) : undefined
      case 'snapshot-wanted':
        return this.#isHeard ? this.#events.snapshotWanted() : undefined
      case 'status':
        return this.#isHeard ? this.#events.status(message.status) : undefined
      default:
        return unreachable(message)
    }
  }

  /** After stop or failure nothing but log lines is passed on. */
  get #isHeard(): boolean {
    return this.#state === 'starting' || this.#state === 'running'
  }

  #flushSoon(): void {
    if (this.#flushIsDue) return
    this.#flushIsDue = true
    setImmediate(() => this.#flush())
  }

  #flush(): void {
    const [commands, ids] = [this.#outbox, this.#readsOutbox]
    this.#flushIsDue = false
    // What was handed in and never left stays without an outcome, as what was lost on its way.
    if (this.#state !== 'running') return
    this.#outbox = []
    this.#readsOutbox = []
    if (ids.length > 0) this.#post({ kind: 'read', ids })
    if (commands.length > 0) this.#post({ kind: 'propose', block: packCommands(commands) })
  }

  /** Not at once: the thread would be woken for what it needs only as a measure of how far the state machine lags. */
  #tellApplied(): void {
    clearTimeout(this.#applyTimer)
    this.#applyTimer = undefined
    if (this.#applied === this.#toldApplied || this.#state !== 'running') return
    this.#toldApplied = this.#applied
    this.#post({ kind: 'applied', index: this.#applied })
  }

  #post(message: ToThread, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer)
  }

  #fail(failure: OperatingError): void {
    const before = this.#state
    if (before !== 'starting' && before !== 'running') return
    this.#state = 'failed'
    clearTimeout(this.#applyTimer)
    if (before === 'starting') void this.#end().then(() => this.#started.reject(failure))
    else this.#events.failed(failure)
  }

  /** Resolves when the thread is gone; one that does not end by itself is made to. */
  async #end(): Promise<void> {
    if (this.#state === 'exited') return
    this.#post({ kind: 'stop' })
    const timer = setTimeout(() => {
      this.#events.log('warn', 'consensus-thread-terminated', { afterMs: stopDeadlineMs })
      void this.#worker.terminate()
    }, stopDeadlineMs)
    await this.#exited.promise
    clearTimeout(timer)
  }
}

function crashed(cause: unknown): OperatingError {
  return new OperatingError('internal', 'run the consensus thread: it died', { cause })
}
