import { assert, unreachable } from '../std/assert.ts'
import { SequenceHash, sha256Hex } from '../std/hash.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId, SessionId } from '../vocabulary/ids.ts'
import { Answers } from './answers.ts'
import { byName } from './by-name.ts'
import { Checks, checksMax, isCheckIndex } from './checks.ts'
import type { DigestReport } from './checks.ts'
import { ClientSessions } from './client-sessions.ts'
import { commandFields } from './command-codec.ts'
import type { Malformed } from './command-codec.ts'
import type {
  Command,
  CommandResult,
  Drain,
  Envelope,
  JoinToken,
  Member,
  Replica,
  Revision,
  SessionRecord,
} from './command.ts'
import { ContentSum } from './content-sum.ts'
import type { CurrentRecords, RecordChange } from './content-sum.ts'
import type { DrainRecord } from './fields.ts'
import { JoinTokens } from './join-tokens.ts'
import { KeyValues } from './key-values.ts'
import type { KvEntry, StateChange, StateCheck, StateReader } from './reader.ts'
import { Replicas } from './replicas.ts'
import { sameMember } from './same-record.ts'
import type { StateImage } from './snapshot.ts'

/**
 * What all nodes agree on: key-value pairs, the directory of members and what operators want of them, the replicas of
 * servers, who may join, the sessions of clients, what repeated writes were answered. A function of the applied entries
 * alone: the same entries make the same state on every node, and so does an image of the state with the entries behind it.
 *
 * The pairs are bounded by the log, which refuses to grow past its own limit; members and replicas by the limits below.
 * Those limits and the codec's decide what is refused, so they belong to what nodes agree on: see command-codec.
 */
export class ClusterState implements StateReader {
  readonly #kv = new KeyValues((key, change) => this.#content.note('kv', key, change))
  #members = new Map<NodeId, Member>()
  /** Of members. */
  #drains = new Map<NodeId, Drain>()
  readonly #replicas = new Replicas((key, change) => this.#noteReplica(key, change))
  readonly #answers = new Answers((key, change) => this.#content.note('answer', key, change))
  readonly #tokens = new JoinTokens((id, change) => this.#noteToken(id, change))
  readonly #sessions = new ClientSessions((id, change) => this.#content.note('session', id, change))
  readonly #records: CurrentRecords = {
    kv: (key) => this.#kv.find(key),
    member: (node) => this.#members.get(node as NodeId),
    replica: (key) => this.#replicas.find(key),
    answer: (key) => this.#answers.find(key),
    token: (id) => this.#tokens.find(id),
    drain: (node) => this.#drainRecord(node as NodeId),
    session: (id) => this.#sessions.find(id as SessionId),
  }
  #content = new ContentSum(this.#records)
  readonly #checks = new Checks()
  /** This node's own digests, of the newest check indexes that it came by. */
  readonly #ownDigests = new Map<Revision, string>()
  #sortedMembers: readonly Member[] | null = null
  #appliedIndex = 0
  /** Log time of the newest entry. */
  #time = 0
  #catalogVersion = 0
  #catalogChanged = false
  #membersChanged = false
  #tokensChanged = false
  #checksChanged = false

  get appliedIndex(): number {
    return this.#appliedIndex
  }

  get catalogVersion(): number {
    return this.#catalogVersion
  }

  get answerCount(): number {
    return this.#answers.size
  }

  get clientSessionCount(): number {
    return this.#sessions.size
  }

  get nextSessionEnd(): number | null {
    return this.#sessions.nextEnd
  }

  /**
   * Takes every entry of the log in turn; `time` is its log time. Null: an entry of Raft's own (no-op, configuration), which
   * changes nothing but the time.
   */
  apply(entry: {
    readonly index: number
    readonly time: number
    readonly command: Envelope | Malformed | null
  }): CommandResult {
    const { index, command } = entry
    assert(index === this.#appliedIndex + 1, `state: entry ${index} does not follow ${this.#appliedIndex}`)
    this.#appliedIndex = index
    this.#time = Math.max(this.#time, entry.time)
    this.#answers.advance(this.#time)
    this.#tokens.advance(this.#time)
    this.#sessions.advance(this.#time)
    const result = this.#applyEnvelope(command, index)
    if (isCheckIndex(index)) this.#noteOwnDigest()
    return result
  }

  /**
   * 16 hexadecimal digits that are a function of the content alone, whether it was applied or restored: other content has
   * another digest, but for one chance in 2^64.
   */
  digest(): string {
    const { low, high } = this.#content.total()
    const hash = new SequenceHash()
    hash.begin(0)
    hash.add([this.#appliedIndex, this.#time, low, high])
    for (const { index, reports } of this.#checks.all()) {
      hash.add([index, reports.map(({ node, digest }) => [node, digest])])
    }
    hash.end()
    return [hash.high, hash.low].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
  }

  /** Everything as it is now, by reference: what it holds is never changed afterwards. Takes a copy of the lists, no more. */
  capture(): StateImage {
    return {
      appliedIndex: this.#appliedIndex,
      time: this.#time,
      kv: this.#kv.all(),
      members: [...this.#members.values()],
      replicas: this.#replicas.all(),
      answers: this.#answers.all(),
      tokens: this.#tokens.all(),
      drains: [...this.#drains].map(([node, drain]) => ({ node, drain })),
      sessions: this.#sessions.all(),
      checks: this.#checks.all(),
      sum: this.#content.total(),
    }
  }

  /** See `restoring`; all of it in one go. */
  restore(image: StateImage): void {
    for (const step of this.restoring(image)) assert(step === undefined, 'a step has nothing to say')
  }

  /**
   * Begins anew from the image, which a decoder has found to be whole. Whoever asks may rest between the steps: the state is
   * what it was until the last. Changes that nobody has taken yet are lost: the next take tells of catalog, members and tokens.
   */
  *restoring(image: StateImage): Generator<void, void, void> {
    const kv = yield* this.#kv.restoring(image.kv)
    const answers = yield* byName(image.answers, ({ key }) => key)
    const sessions = yield* this.#sessions.restoring(image.sessions)
    this.#appliedIndex = image.appliedIndex
    this.#time = image.time
    kv.commit()
    sessions.commit()
    this.#members = new Map(image.members.map((member) => [member.node, member]))
    this.#replicas.restore(image.replicas)
    this.#drains = new Map(image.drains.map(({ node, drain }) => [node, drain]))
    this.#answers.restore(answers)
    this.#tokens.restore(image.tokens)
    this.#content = new ContentSum(this.#records, image.sum)
    this.#checks.restore(image.checks)
    this.#noteMembers()
    this.#noteCatalog()
    this.#ownDigests.clear()
    this.#tokensChanged = true
    this.#checksChanged = true
    if (isCheckIndex(image.appliedIndex)) this.#noteOwnDigest()
  }

  /** What changed since the last take; at most what the entries applied since then can name. */
  takeChange(): StateChange {
    const change = {
      kv: this.#kv.takeEvents(),
      catalog: this.#catalogChanged,
      members: this.#membersChanged,
      tokens: this.#tokensChanged,
      sessionsEnded: this.#sessions.takeEnded(),
      sessionsPinned: this.#sessions.takePinned(),
      checks: this.#checksChanged,
    }
    this.#catalogChanged = false
    this.#membersChanged = false
    this.#tokensChanged = false
    this.#checksChanged = false
    return change
  }

  kvGet(key: string): KvEntry | undefined {
    return this.#kv.find(key)
  }

  kvList(options: { prefix: string; after: string | null; limit: number }): ReturnType<StateReader['kvList']> {
    return this.#kv.list(options)
  }

  members(): readonly Member[] {
    this.#sortedMembers ??= [...this.#members.values()].sort((a, b) => compareIds(a.node, b.node))
    return this.#sortedMembers
  }

  replicas(): readonly Replica[] {
    return this.#replicas.sorted()
  }

  tokens(): readonly JoinToken[] {
    return this.#tokens.sorted()
  }

  token(id: string): JoinToken | undefined {
    return this.#tokens.find(id)
  }

  clientSessions(): readonly SessionRecord[] {
    return this.#sessions.all()
  }

  clientSession(id: SessionId): SessionRecord | undefined {
    return this.#sessions.find(id)
  }

  drains(): ReadonlyMap<NodeId, Drain> {
    return this.#drains
  }

  checks(): readonly StateCheck[] {
    const indexes = new Set([...this.#checks.indexes, ...this.#ownDigests.keys()])
    return [...indexes]
      .sort((a, b) => b - a)
      .map((index) => ({ index, own: this.#ownDigests.get(index) ?? null, reports: this.#checks.at(index) }))
  }

  #applyEnvelope(envelope: Envelope | Malformed | null, index: Revision): CommandResult {
    if (envelope === null) return { kind: 'done', revision: index }
    if ('malformed' in envelope) return refused(`malformed command: ${envelope.malformed}`)
    const { command, idempotencyKey } = envelope
    return idempotencyKey === null
      ? this.#applyCommand(command, index)
      : this.#applyOnce(command, { index, idempotencyKey })
  }

  #applyOnce(command: Command, entry: { index: Revision; idempotencyKey: string }): CommandResult {
    const { index, idempotencyKey: key } = entry
    const fingerprint = sha256Hex(JSON.stringify(commandFields(command)))
    const known = this.#answers.find(key)
    if (known !== undefined) {
      if (known.fingerprint === fingerprint) return known.result
      return refused('the idempotency key was used for another request; every request has a key of its own')
    }
    const result = this.#applyCommand(command, index)
    this.#answers.add({ key, fingerprint, result, time: this.#time })
    return result
  }

  #applyCommand(command: Command, index: Revision): CommandResult {
    switch (command.kind) {
      case 'kv-set':
        return this.#kv.set(command, index)
      case 'kv-delete':
        return this.#kv.delete(command, index)
      case 'member-set':
        return this.#setMember(command.member, index)
      case 'member-delete':
        return this.#deleteMember(command, index)
      case 'replica-set':
        return this.#replicas.set(command.replica, { index, member: this.#members.get(command.replica.node) })
      case 'replica-delete':
        return this.#replicas.delete(command, index)
      case 'state-digest':
        return this.#report(command, index)
      case 'token-set':
        return this.#tokens.set(command.token, { index, time: this.#time })
      case 'token-use':
        return this.#tokens.use(command.id, command.node, { index, time: this.#time })
      case 'token-revoke':
        return this.#tokens.revoke(command.id, index)
      case 'member-drain':
        return this.#wantDrain(command, index)
      case 'session-open':
      case 'session-close':
      case 'session-touch':
      case 'session-level':
      case 'session-subscribe':
      case 'session-unsubscribe':
      case 'session-pin':
        return this.#sessions.apply(command, { index, time: this.#time })
      default:
        return unreachable(command)
    }
  }

  #setMember(member: Member, index: Revision): CommandResult {
    const known = this.#members.get(member.node)
    if (known !== undefined && member.generation < known.generation) {
      return refused(`generation ${member.generation} of node ${member.node} is older than ${known.generation}`)
    }
    if (known === undefined && this.#members.size >= membersMax) {
      return refused(`the directory holds ${membersMax} members already`)
    }
    if (known === undefined || !sameMember(known, member)) {
      this.#content.note('member', member.node, { before: known, after: member })
      this.#members.set(member.node, member)
      this.#noteMembers()
    }
    this.#replicas.withdraw(member.node, member.generation)
    return { kind: 'done', revision: index }
  }

  #deleteMember(command: Command & { kind: 'member-delete' }, index: Revision): CommandResult {
    const { node, generation } = command
    const known = this.#members.get(node)
    if (known === undefined || known.generation > generation) return { kind: 'not-found' }
    this.#content.note('member', node, { before: known, after: undefined })
    this.#members.delete(node)
    this.#checks.forget(node)
    this.#setDrain(node, null)
    this.#noteMembers()
    this.#replicas.withdraw(node, null)
    return { kind: 'done', revision: index }
  }

  #wantDrain({ node, drain }: Command & { kind: 'member-drain' }, index: Revision): CommandResult {
    if (!this.#members.has(node)) return { kind: 'not-found' }
    this.#setDrain(node, drain)
    return { kind: 'done', revision: index }
  }

  /** The map is another afterwards: readers may hold the old one. */
  #setDrain(node: NodeId, drain: Drain | null): void {
    if ((this.#drains.get(node) ?? null) === drain) return
    const before = this.#drainRecord(node)
    this.#content.note('drain', node, { before, after: drain === null ? undefined : { node, drain } })
    this.#drains = new Map(this.#drains)
    if (drain === null) this.#drains.delete(node)
    else this.#drains.set(node, drain)
    this.#noteMembers()
    this.#catalogChanged = true
  }

  #drainRecord(node: NodeId): DrainRecord | undefined {
    const drain = this.#drains.get(node)
    return drain && { node, drain }
  }

  #report(report: DigestReport, index: Revision): CommandResult {
    if (!this.#members.has(report.node)) return refused(`node ${report.node} is not in the directory`)
    if (report.index >= index) return refused(`index ${report.index} is not before the report of it, which is ${index}`)
    this.#checksChanged = true
    return this.#checks.report(report) ?? { kind: 'done', revision: index }
  }

  #noteOwnDigest(): void {
    this.#ownDigests.set(this.#appliedIndex, this.digest())
    const [oldest] = this.#ownDigests.keys()
    if (oldest !== undefined && this.#ownDigests.size > checksMax) this.#ownDigests.delete(oldest)
    this.#checksChanged = true
  }

  #noteToken(id: string, change: RecordChange<JoinToken>): void {
    this.#content.note('token', id, change)
    this.#tokensChanged = true
  }

  #noteMembers(): void {
    this.#sortedMembers = null
    this.#membersChanged = true
    this.#catalogVersion += 1
  }

  #noteReplica(key: string, change: RecordChange<Replica>): void {
    this.#content.note('replica', key, change)
    this.#noteCatalog()
  }

  #noteCatalog(): void {
    this.#catalogChanged = true
    this.#catalogVersion += 1
  }
}

/** Nodes in the directory: those that ever were, until they are removed. */
export const membersMax = 1024

function refused(reason: string): CommandResult {
  return { kind: 'refused', reason }
}
