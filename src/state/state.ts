import { assert, unreachable } from '../std/assert.ts'
import { SequenceHash, sha256Hex } from '../std/hash.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import { byName } from './by-name.ts'
import { Checks, checksMax, isCheckIndex } from './checks.ts'
import type { DigestReport } from './checks.ts'
import { commandFields } from './command-codec.ts'
import type { Malformed } from './command-codec.ts'
import type { Command, CommandResult, Drain, Envelope, JoinToken, Member, Replica, Revision } from './command.ts'
import { ContentSum } from './content-sum.ts'
import type { CurrentRecords, RecordChange } from './content-sum.ts'
import type { DrainRecord } from './fields.ts'
import { JoinTokens } from './join-tokens.ts'
import { KeyValues } from './key-values.ts'
import type { KvEntry, StateChange, StateCheck, StateReader } from './reader.ts'
import { sameMember, sameReplica } from './same-record.ts'
import { Sessions } from './sessions.ts'
import type { StateImage } from './snapshot.ts'

/**
 * What all nodes agree on: key-value pairs, the directory of members and what operators want of them, the replicas of
 * servers, who may join, what repeated writes were answered. A function of the applied entries alone: the same entries make
 * the same state on every node, and so does an image of the state with the entries behind it.
 *
 * The pairs are bounded by the log, which refuses to grow past its own limit; members and replicas by the limits below.
 * Those limits and the codec's decide what is refused, so they belong to what nodes agree on: see command-codec.
 */
export class ClusterState implements StateReader {
  readonly #kv = new KeyValues((key, change) => this.#content.note('kv', key, change))
  #members = new Map<NodeId, Member>()
  /** Of members. */
  #drains = new Map<NodeId, Drain>()
  #replicas = new Map<string, Replica>()
  readonly #sessions = new Sessions((key, change) => this.#content.note('session', key, change))
  readonly #tokens = new JoinTokens((id, change) => this.#noteToken(id, change))
  readonly #records: CurrentRecords = {
    kv: (key) => this.#kv.find(key),
    member: (node) => this.#members.get(node as NodeId),
    replica: (key) => this.#replicas.get(key),
    session: (key) => this.#sessions.find(key),
    token: (id) => this.#tokens.find(id),
    drain: (node) => this.#drainRecord(node as NodeId),
  }
  #content = new ContentSum(this.#records)
  readonly #checks = new Checks()
  /** This node's own digests, of the newest check indexes that it came by. */
  readonly #ownDigests = new Map<Revision, string>()
  #sortedMembers: readonly Member[] | null = null
  #sortedReplicas: readonly Replica[] | null = null
  #appliedIndex = 0
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

  get sessionCount(): number {
    return this.#sessions.size
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
    const { index, time, command } = entry
    assert(index === this.#appliedIndex + 1, `state: entry ${index} does not follow ${this.#appliedIndex}`)
    this.#appliedIndex = index
    this.#sessions.advance(time)
    this.#tokens.advance(this.#sessions.time)
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
    hash.add([this.#appliedIndex, this.#sessions.time, low, high])
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
      time: this.#sessions.time,
      kv: this.#kv.all(),
      members: [...this.#members.values()],
      replicas: [...this.#replicas.values()],
      sessions: this.#sessions.all(),
      tokens: this.#tokens.all(),
      drains: [...this.#drains].map(([node, drain]) => ({ node, drain })),
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
    const sessions = yield* byName(image.sessions, ({ key }) => key)
    this.#appliedIndex = image.appliedIndex
    kv.commit()
    this.#members = new Map(image.members.map((member) => [member.node, member]))
    this.#replicas = new Map(image.replicas.map((replica) => [replicaKey(replica.node, replica.server), replica]))
    this.#drains = new Map(image.drains.map(({ node, drain }) => [node, drain]))
    this.#sessions.restore(image.time, sessions)
    this.#tokens.restore(image.tokens)
    this.#content = new ContentSum(this.#records, image.sum)
    this.#checks.restore(image.checks)
    this.#noteMembers()
    this.#noteReplicas()
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
    this.#sortedReplicas ??= [...this.#replicas.values()].sort(
      (a, b) => compareIds(a.server, b.server) || compareIds(a.node, b.node),
    )
    return this.#sortedReplicas
  }

  tokens(): readonly JoinToken[] {
    return this.#tokens.sorted()
  }

  token(id: string): JoinToken | undefined {
    return this.#tokens.find(id)
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
    const known = this.#sessions.find(key)
    if (known !== undefined) {
      if (known.fingerprint === fingerprint) return known.result
      return refused('the idempotency key was used for another request; every request has a key of its own')
    }
    const result = this.#applyCommand(command, index)
    this.#sessions.add({ key, fingerprint, result })
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
        return this.#setReplica(command.replica, index)
      case 'replica-delete':
        return this.#deleteReplica(command, index)
      case 'state-digest':
        return this.#report(command, index)
      case 'token-set':
        return this.#tokens.set(command.token, { index, time: this.#sessions.time })
      case 'token-use':
        return this.#tokens.use(command.id, command.node, { index, time: this.#sessions.time })
      case 'token-revoke':
        return this.#tokens.revoke(command.id, index)
      case 'member-drain':
        return this.#wantDrain(command, index)
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
    this.#withdraw((replica) => replica.node === member.node && replica.generation !== member.generation)
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
    this.#withdraw((replica) => replica.node === node)
    return { kind: 'done', revision: index }
  }

  #withdraw(isGone: (replica: Replica) => boolean): void {
    for (const [key, replica] of this.#replicas) {
      if (!isGone(replica)) continue
      this.#removeReplica(key, replica)
    }
  }

  #setReplica(replica: Replica, index: Revision): CommandResult {
    const member = this.#members.get(replica.node)
    if (member === undefined) return refused(`node ${replica.node} is not in the directory`)
    if (member.generation !== replica.generation) {
      return refused(
        `generation ${replica.generation} of node ${replica.node} is not its newest, which is ${member.generation}`,
      )
    }
    const key = replicaKey(replica.node, replica.server)
    const known = this.#replicas.get(key)
    if (known === undefined && this.#replicas.size >= replicasMax) {
      return refused(`the cluster holds ${replicasMax} replicas already`)
    }
    if (known === undefined || !sameReplica(known, replica)) {
      this.#content.note('replica', key, { before: known, after: replica })
      this.#replicas.set(key, replica)
      this.#noteReplicas()
    }
    return { kind: 'done', revision: index }
  }

  /** A late withdrawal by an older generation finds nothing: what stands there is not what it meant. */
  #deleteReplica(command: Command & { kind: 'replica-delete' }, index: Revision): CommandResult {
    const key = replicaKey(command.node, command.server)
    const known = this.#replicas.get(key)
    if (known?.generation !== command.generation) return { kind: 'not-found' }
    this.#removeReplica(key, known)
    return { kind: 'done', revision: index }
  }

  #removeReplica(key: string, replica: Replica): void {
    this.#content.note('replica', key, { before: replica, after: undefined })
    this.#replicas.delete(key)
    this.#noteReplicas()
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

  #noteReplicas(): void {
    this.#sortedReplicas = null
    this.#catalogChanged = true
    this.#catalogVersion += 1
  }
}

/** Nodes in the directory: those that ever were, until they are removed. */
export const membersMax = 1024
/** Replicas of all servers on all nodes. */
const replicasMax = 16_384

function refused(reason: string): CommandResult {
  return { kind: 'refused', reason }
}

/** Neither a node's id nor a server's name holds a slash. */
function replicaKey(node: NodeId, server: ServerName): string {
  return `${node}/${server}`
}
