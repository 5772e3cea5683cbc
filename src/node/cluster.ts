import { assert } from '../std/assert.ts'
import type { Clock, Timer } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { Deferred } from '../std/deferred.ts'
import type { ProposalId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { decodeConfiguration } from '../raft/configuration.ts'
import type { Configuration, ConfigurationChange } from '../raft/configuration.ts'
import type { Entry, Index, Term } from '../raft/entry.ts'
import type { ProposalContent, RefusalReason } from '../raft/messages.ts'
import { decodeCommand, encodeCommand } from '../state/command-codec.ts'
import type { Malformed } from '../state/command-codec.ts'
import type { Command, CommandResult, Envelope } from '../state/command.ts'
import type { StateChange, StateReader } from '../state/reader.ts'
import type { StateImage } from '../state/snapshot.ts'
import { ClusterState } from '../state/state.ts'
import type { Log } from '../log/log.ts'
import { Intake } from './intake.ts'
import type { RestoredSnapshot } from './intake.ts'
import { KvWatches } from './kv-watches.ts'
import type { KvWatch } from './kv-watches.ts'
import { refusal } from './refusal.ts'
import { Reads } from './reads.ts'
import type { ReadFigures } from './reads.ts'

/**
 * The replicated state as this node sees it, and the way to change it: hands proposals to consensus, applies what was
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
  readonly #kvWatches = new KvWatches()
  readonly #reads: Reads
  /** Of the newest applied entry. */
  #term: Term = 0
  /** The newest applied one; the first entry of every log is one. */
  #configuration: Configuration | null = null
  readonly #intake: Intake
  #changes = 0
  #restores = 0
  /** Why nothing is taken in or answered any more. */
  #ended: OperatingError | null = null

  constructor(options: ClusterOptions) {
    const { ask, clock } = options
    this.#options = options
    this.#reads = new Reads({ ask, clock, appliedIndex: () => this.#state.appliedIndex })
    this.#intake = new Intake({
      state: this.#state,
      apply: (entries) => this.#apply(entries),
      restored: (...restored) => this.#restored(...restored),
      malformed: ({ index }, why) => {
        const error = new OperatingError('storage-failed', `restore the snapshot at ${index}: ${why}`)
        this.lose(error)
        options.failed(error)
      },
      clock,
    })
  }

  get state(): StateReader {
    return this.#state
  }

  get figures(): ClusterFigures {
    return {
      ...this.#reads.figures,
      changes: this.#changes,
      restores: this.#restores,
      answers: this.#state.answerCount,
      kvWatches: this.#kvWatches.count,
    }
  }

  /** Proposals and linearizable reads of this node that wait for their outcome. */
  get queues(): { readonly proposals: number; readonly reads: number } {
    return { proposals: this.#waiting.size, reads: this.#reads.waiting }
  }

  /** Resolves to the result of applying the command; see the class for the errors. `timeoutMs` from now. */
  propose(command: Command, timeoutMs: number): Promise<CommandResult> {
    return this.proposeOnce({ command, idempotencyKey: null }, timeoutMs)
  }

  /** As `propose`; of the same command under the same key only the first is applied, and all are answered alike. */
  proposeOnce(envelope: Envelope, timeoutMs: number): Promise<CommandResult> {
    const content = { kind: 'command', data: encodeCommand(envelope) } as const
    return this.#propose(content, { title: titles[envelope.command.kind], change: null, timeoutMs })
  }

  /** Resolves when the change is committed; also `change-under-way` and `change-refused` say that nothing was logged. */
  async change(change: ConfigurationChange, timeoutMs: number): Promise<void> {
    this.#changes += 1
    const title = `${titles[change.kind]} ${change.node}`
    await this.#propose({ kind: 'change', change }, { title, change: change.kind, timeoutMs })
  }

  #propose(content: ProposalContent, { title, change, timeoutMs }: Proposal): Promise<CommandResult> {
    if (this.#ended !== null) return Promise.reject(this.#ended)
    if (this.#waiting.size >= waitingMax) {
      return Promise.reject(
        new OperatingError('overloaded', `${title}: ${waitingMax} proposals of this node wait already`, soon),
      )
    }
    const { clock, nextId, submit } = this.#options
    const id = nextId()
    const settled = deferred<CommandResult>()
    const timer = clock.after(timeoutMs, () => {
      this.#take(id)?.settled.reject(
        new OperatingError('outcome-unknown', `${title}: no outcome within ${timeoutMs} ms`),
      )
    })
    this.#waiting.set(id, { settled, timer, title, change })
    submit(id, content)
    return settled.promise
  }

  /** Resolves when the state holds everything that was committed before the call: a linearizable read; see Reads. */
  barrier(timeoutMs: number): Promise<void> {
    return this.#ended === null ? this.#reads.read(timeoutMs) : Promise.reject(this.#ended)
  }

  /** The state as it is now, for a read that need not be of the newest. Throws when it is not to be believed any more. */
  get known(): StateReader {
    if (this.#ended !== null) throw this.#ended
    return this.#state
  }

  /** Told after each applied batch that changed something; returns how to stop watching. */
  watch(watcher: (change: StateChange) => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** See KvWatches. */
  watchKv(options: { readonly pattern: string; readonly from: number | null }): KvWatch {
    return this.#kvWatches.open(options)
  }

  /** The state is older than what came from consensus: it is becoming a snapshot's. */
  get isRestoring(): boolean {
    return this.#intake.isBusy
  }

  /** Resolves when the state is all that came from consensus before, or never will be. */
  settled(): Promise<void> {
    return this.#intake.settled()
  }

  /** As it is after a barrier. */
  async newestConfiguration(timeoutMs: number): Promise<Configuration> {
    await this.barrier(timeoutMs)
    assert(this.#configuration !== null, 'a state that was read is of a log')
    return this.#configuration
  }

  /** Everything as it is now, for a snapshot. */
  capture(): StateImage {
    return this.#state.capture()
  }

  /** Where in the log the state is; null while nothing is applied. */
  get position(): LogPosition | null {
    const configuration = this.#configuration
    return configuration === null ? null : { term: this.#term, configuration }
  }

  /** From consensus: entries newly committed. */
  committed(entries: readonly Entry[]): void {
    this.#intake.committed(entries)
  }

  /**
   * From consensus: this node starts from a snapshot, or is so far behind that the entries it lacks are gone. Proposals
   * whose entries are among those stay without an outcome. The state becomes the snapshot's some time later, and what is
   * committed behind it waits so long. Bytes that are no snapshot: the state is lost, with `storage-failed`.
   */
  restore(snapshot: RestoredSnapshot): void {
    this.#intake.restore(snapshot)
  }

  /** From consensus: a proposal of this node was refused. */
  refused(id: ProposalId, why: RefusalReason): void {
    const waiting = this.#take(id)
    waiting?.settled.reject(refusal(waiting, why))
  }

  /** From consensus: the read sees everything once `index` is applied. */
  readable(id: number, index: Index): void {
    this.#reads.readable(id, index)
  }

  readRefused(id: number): void {
    this.#reads.refused(id)
  }

  /** The state is not to be believed: nothing is taken in, told or answered from it any more. */
  lose(why: OperatingError): void {
    if (this.#ended !== null) return
    this.#intake.end()
    this.#end(why)
  }

  stop(): void {
    this.#end(stopped())
  }

  #end(why: OperatingError): void {
    this.#ended ??= why
    for (const [id, { title }] of this.#waiting) {
      const error = new OperatingError('outcome-unknown', `${title}: this node stops before it knows the outcome`)
      this.#take(id)?.settled.reject(error)
    }
    this.#reads.stop(why)
    this.#kvWatches.stop(why)
    this.#watchers.clear()
  }

  #apply(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const { index, time, id } = entry
      assert(index === this.#state.appliedIndex + 1, `entry ${index} applied out of order`)
      const command = entry.kind === 'command' ? this.#decode(entry) : null
      const result = this.#state.apply({ index, time, command })
      this.#term = entry.term
      if (entry.kind === 'configuration') this.#configuration = decodeConfiguration(entry.data) ?? this.#configuration
      if (id !== '') this.#take(id)?.settled.resolve(result)
    }
    this.#applied()
  }

  #restored({ index, term, configuration, bytes }: RestoredSnapshot, how: Readonly<Record<string, number>>): void {
    this.#term = term
    this.#configuration = configuration
    this.#restores += 1
    this.#options.log.info('snapshot-restored', { index, bytes: bytes.length, ...how })
    this.#kvWatches.reset(index)
    this.#applied()
  }

  #applied(): void {
    const { appliedIndex } = this.#state
    const change = this.#state.takeChange()
    this.#kvWatches.applied(change.kv, appliedIndex)
    this.#reads.applied(appliedIndex)
    this.#options.applied(appliedIndex)
    const { kv, catalog, members, tokens, sessionsEnded, sessionsPinned, checks } = change
    const hasLists = kv.length + sessionsEnded.length + sessionsPinned.length > 0
    if (!hasLists && !catalog && !members && !tokens && !checks) return
    for (const watcher of this.#watchers) watcher(change)
  }

  #decode(entry: Entry): Envelope | Malformed {
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
  readonly submit: (id: ProposalId, content: ProposalContent) => void
  /** Asks consensus for a read index. */
  readonly ask: (id: number) => void
  /** Tells consensus up to where the state is. */
  readonly applied: (index: Index) => void
  /** Unique in the cluster's life. */
  readonly nextId: () => ProposalId
  /** The node has to stop: there is no state. */
  readonly failed: (why: OperatingError) => void
  readonly clock: Clock
  readonly log: Log
}

/** The term of the newest applied entry, and the newest configuration among the applied ones. */
export type LogPosition = Pick<RestoredSnapshot, 'term' | 'configuration'>

/** Counts since the start of the process; `answers` and `kvWatches` are what there is now. */
export type ClusterFigures = ReadFigures & {
  /** Changes of the configuration that were asked for here. */
  readonly changes: number
  readonly restores: number
  /** Of writes under an idempotency key. */
  readonly answers: number
  readonly kvWatches: number
}

/** `title`: what a proposer reads in a message. */
type Titled = { readonly title: string; readonly change: ConfigurationChange['kind'] | null }
type Proposal = Titled & { readonly timeoutMs: number }
type Waiting = Titled & { readonly settled: Deferred<CommandResult>; readonly timer: Timer }

/** Proposals of this node that wait for their outcome. */
const waitingMax = 4096
const soon = { retry: 'after', retryAfterMs: 1000 } as const

function stopped(): OperatingError {
  return new OperatingError('stopped', 'this node is stopping', { retry: 'elsewhere' })
}

const titles: Readonly<Record<Command['kind'] | ConfigurationChange['kind'], string>> = {
  'kv-set': 'put',
  'kv-delete': 'delete',
  'member-set': 'publish member',
  'member-delete': 'withdraw member',
  'replica-set': 'publish replica',
  'replica-delete': 'withdraw replica',
  'state-digest': 'report state digest',
  'token-set': 'create join token',
  'token-use': 'use join token',
  'token-revoke': 'revoke join token',
  'member-drain': 'drain node',
  'session-open': 'open session',
  'session-close': 'close session',
  'session-touch': 'keep sessions',
  'session-level': 'set the log level of a session',
  'session-subscribe': 'subscribe',
  'session-unsubscribe': 'unsubscribe',
  'session-pin': 'pin a session to a node',
  'add-learner': 'add learner',
  promote: 'promote',
  remove: 'remove',
}
