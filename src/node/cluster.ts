import { assert } from '../std/assert.ts'
import type { Clock, Timer } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { Deferred } from '../std/deferred.ts'
import type { ProposalId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Entry } from '../raft/entry.ts'
import type { RefusalReason } from '../raft/messages.ts'
import { decodeCommand, encodeCommand } from '../state/command-codec.ts'
import type { Malformed } from '../state/command-codec.ts'
import type { Command, CommandResult } from '../state/command.ts'
import type { StateChange, StateReader } from '../state/reader.ts'
import { ClusterState } from '../state/state.ts'
import type { Log } from '../log/log.ts'

/**
 * The replicated state as this node sees it, and the way to change it: hands commands to consensus, applies what was
 * committed, and settles each proposer with the result of its own entry.
 *
 * Guarantees: entries are applied once, in index order; a proposer learns either the applied result, or a refusal that says
 * that the command provably never entered a log (`no-leader`, `overloaded`, `too-large`), or `outcome-unknown`.
 */
export class Cluster {
  readonly #state = new ClusterState()
  readonly #options: ClusterOptions
  readonly #waiting = new Map<ProposalId, Waiting>()
  readonly #watchers = new Set<(change: StateChange) => void>()
  readonly #reads: Deferred<void>[] = []
  #readUnderWay = false
  #stopped = false

  constructor(options: ClusterOptions) {
    this.#options = options
  }

  get state(): StateReader {
    return this.#state
  }

  /** Resolves to the result of applying the command; see the class for the errors. `timeoutMs` from now. */
  propose(command: Command, timeoutMs: number): Promise<CommandResult> {
    if (this.#stopped) return Promise.reject(stopped())
    if (this.#waiting.size >= waitingMax) {
      return Promise.reject(
        new OperatingError(
          'overloaded',
          `${titles[command.kind]}: ${waitingMax} proposals of this node wait already`,
          soon,
        ),
      )
    }
    const { clock, nextId, submit } = this.#options
    const id = nextId()
    const settled = deferred<CommandResult>()
    const timer = clock.after(timeoutMs, () => {
      this.#take(id)?.settled.reject(
        new OperatingError('outcome-unknown', `${titles[command.kind]}: no outcome within ${timeoutMs} ms`),
      )
    })
    this.#waiting.set(id, { settled, timer, kind: command.kind })
    submit(id, encodeCommand(command))
    return settled.promise
  }

  /**
   * Resolves when the state holds everything that was committed before the call (a linearizable read; until read-index
   * comes it goes through the log). Reads that arrive while one is under way share the next. Errors: `no-leader`,
   * `no-quorum`, `overloaded`; a read changes nothing, so all of them may simply be tried again.
   */
  barrier(timeoutMs: number): Promise<void> {
    if (this.#stopped) return Promise.reject(stopped())
    if (this.#reads.length >= readsMax) {
      return Promise.reject(new OperatingError('overloaded', `read: ${readsMax} reads of this node wait already`, soon))
    }
    const read = deferred<void>()
    const timer = this.#options.clock.after(timeoutMs, () => {
      read.reject(new OperatingError('no-quorum', `read: no majority answered within ${timeoutMs} ms`, soon))
    })
    this.#reads.push(read)
    if (!this.#readUnderWay) void this.#performReads()
    return read.promise.finally(() => timer.cancel())
  }

  async #performReads(): Promise<void> {
    this.#readUnderWay = true
    while (this.#reads.length > 0) {
      const reads = this.#reads.splice(0)
      try {
        await this.propose({ kind: 'barrier' }, barrierTimeoutMs)
        for (const read of reads) read.resolve()
      } catch (error) {
        const told =
          error instanceof OperatingError && error.code !== 'outcome-unknown'
            ? error
            : new OperatingError('no-quorum', 'read: no majority confirmed it', { ...soon, cause: error })
        for (const read of reads) read.reject(told)
      }
    }
    this.#readUnderWay = false
  }

  /** Told after each applied batch that changed something; returns how to stop watching. */
  watch(watcher: (change: StateChange) => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** From consensus: entries newly committed. */
  committed(entries: readonly Entry[]): void {
    for (const entry of entries) {
      assert(entry.index === this.#state.appliedIndex + 1, `entry ${entry.index} applied out of order`)
      const command = entry.kind === 'command' ? this.#decode(entry) : null
      const result = this.#state.apply({ index: entry.index, command })
      if (entry.id !== '') this.#take(entry.id)?.settled.resolve(result)
    }
    const change = this.#state.takeChange()
    if (change.kv.length === 0 && !change.catalog && !change.members) return
    for (const watcher of this.#watchers) watcher(change)
  }

  /** From consensus: a proposal of this node was refused. */
  refused(id: ProposalId, why: RefusalReason): void {
    const waiting = this.#take(id)
    waiting?.settled.reject(refusal(waiting.kind, why))
  }

  stop(): void {
    this.#stopped = true
    for (const [id, { kind }] of this.#waiting) {
      const error = new OperatingError(
        'outcome-unknown',
        `${titles[kind]}: this node stops before it knows the outcome`,
      )
      this.#take(id)?.settled.reject(error)
    }
    for (const read of this.#reads.splice(0)) read.reject(stopped())
    this.#watchers.clear()
  }

  #decode(entry: Entry): Command | Malformed {
    const command = decodeCommand(entry.data)
    // Every node meets the same bytes at the same index and refuses them alike, so the states stay equal.
    if ('malformed' in command) {
      this.#options.log.error('command-malformed', { index: entry.index, reason: command.malformed })
    }
    return command
  }

  #take(id: ProposalId): Waiting | undefined {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return undefined
    this.#waiting.delete(id)
    waiting.timer.cancel()
    return waiting
  }
}

export type ClusterOptions = {
  /** Hands a proposal to consensus. */
  readonly submit: (id: ProposalId, data: Uint8Array) => void
  /** Unique in the cluster's life. */
  readonly nextId: () => ProposalId
  readonly clock: Clock
  readonly log: Log
}

type Waiting = { readonly settled: Deferred<CommandResult>; readonly timer: Timer; readonly kind: Command['kind'] }

/** Proposals of this node that wait for their outcome. */
const waitingMax = 4096
/** Linearizable reads of this node that wait for the next barrier. */
const readsMax = 16_384
const barrierTimeoutMs = 5000
const soon = { retry: 'after', retryAfterMs: 1000 } as const

function stopped(): OperatingError {
  return new OperatingError('stopped', 'this node is stopping', { retry: 'elsewhere' })
}

/** What a proposer reads in a message. */
const titles: Readonly<Record<Command['kind'], string>> = {
  'kv-set': 'put',
  'kv-delete': 'delete',
  'member-set': 'publish member',
  'replica-set': 'publish replica',
  'replica-delete': 'withdraw replica',
  barrier: 'read',
}

function refusal(kind: Command['kind'], why: RefusalReason): OperatingError {
  const title = titles[kind]
  switch (why) {
    case 'no-leader':
      return new OperatingError('no-leader', `${title}: no leader is known; an election may be under way`, soon)
    case 'not-leader':
      return new OperatingError('no-leader', `${title}: the leader has just changed`, soon)
    case 'overloaded':
      return new OperatingError('overloaded', `${title}: a limit of waiting or logged bytes is reached`, soon)
    case 'too-large':
      return new OperatingError('too-large', `${title}: larger than a log entry may be`)
    case 'overwritten':
      return new OperatingError(
        'outcome-unknown',
        `${title}: the leader that took it was replaced before it was committed`,
      )
  }
}
