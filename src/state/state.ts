import { assert, unreachable } from '../std/assert.ts'
import { sha256Hex } from '../std/hash.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import type { Offer } from '../vocabulary/offer.ts'
import { commandFields } from './command-codec.ts'
import type { Malformed } from './command-codec.ts'
import type { Command, CommandResult, Envelope, Member, Replica, Revision } from './command.ts'
import type { KvEntry, KvEvent, StateChange, StateReader } from './reader.ts'
import { Sessions } from './sessions.ts'
import type { StateImage } from './snapshot.ts'
import { SortedKeys, compareBytewise, lowerBound } from './sorted-keys.ts'

/**
 * What all nodes agree on: key-value pairs, the directory of members, the replicas of servers, what repeated writes were
 * answered. A function of the applied entries alone: the same entries make the same state on every node, and so does an
 * image of the state with the entries behind it.
 *
 * The pairs are bounded by the log, which refuses to grow past its own limit; members and replicas by the limits below.
 * Those limits and the codec's decide what is refused, so they belong to what nodes agree on: see command-codec.
 */
export class ClusterState implements StateReader {
  readonly #kv = new Map<string, KvEntry>()
  #keys = new SortedKeys()
  readonly #members = new Map<NodeId, Member>()
  readonly #replicas = new Map<string, Replica>()
  readonly #sessions = new Sessions()
  #sortedMembers: readonly Member[] | null = null
  #sortedReplicas: readonly Replica[] | null = null
  #appliedIndex = 0
  #catalogVersion = 0
  #kvEvents: KvEvent[] = []
  #catalogChanged = false
  #membersChanged = false

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
    const { index, time, command: envelope } = entry
    assert(index === this.#appliedIndex + 1, `state: entry ${index} does not follow ${this.#appliedIndex}`)
    this.#appliedIndex = index
    this.#sessions.advance(time)
    if (envelope === null) return { kind: 'done', revision: index }
    if ('malformed' in envelope) return { kind: 'refused', reason: `malformed command: ${envelope.malformed}` }
    const { command, idempotencyKey } = envelope
    return idempotencyKey === null
      ? this.#applyCommand(command, index)
      : this.#applyOnce(command, { index, idempotencyKey })
  }

  /** Everything as it is now, by reference: what it holds is never changed afterwards. Takes a copy of the lists, no more. */
  capture(): StateImage {
    return {
      appliedIndex: this.#appliedIndex,
      time: this.#sessions.time,
      kv: [...this.#kv.values()],
      members: [...this.#members.values()],
      replicas: [...this.#replicas.values()],
      sessions: this.#sessions.all(),
    }
  }

  /** Begins anew from the image. Changes that nobody has taken yet are lost: the next take tells of catalog and members. */
  restore(image: StateImage): void {
    this.#appliedIndex = image.appliedIndex
    this.#kv.clear()
    this.#keys = new SortedKeys()
    for (const entry of image.kv) {
      assert(!this.#kv.has(entry.key), 'a key stands in an image once')
      this.#kv.set(entry.key, entry)
      this.#keys.add(entry.key)
    }
    this.#members.clear()
    for (const member of image.members) this.#members.set(member.node, member)
    this.#replicas.clear()
    for (const replica of image.replicas) this.#replicas.set(replicaKey(replica.node, replica.server), replica)
    this.#sessions.restore(image.time, image.sessions)
    this.#kvEvents = []
    this.#noteMembers()
    this.#noteReplicas()
  }

  /** What changed since the last take; at most what the entries applied since then can name. */
  takeChange(): StateChange {
    const change = { kv: this.#kvEvents, catalog: this.#catalogChanged, members: this.#membersChanged }
    this.#kvEvents = []
    this.#catalogChanged = false
    this.#membersChanged = false
    return change
  }

  kvGet(key: string): KvEntry | undefined {
    return this.#kv.get(key)
  }

  kvList(options: { prefix: string; after: string | null; limit: number }): {
    readonly entries: readonly KvEntry[]
    readonly next: string | null
  } {
    const { prefix, after, limit } = options
    assert(limit >= 1, 'kvList: limit is at least 1')
    const keys = this.#keys.all()
    let at = lowerBound(keys, after !== null && compareBytewise(after, prefix) >= 0 ? after : prefix)
    if (keys[at] === after) at += 1
    const entries: KvEntry[] = []
    for (; entries.length < limit; at += 1) {
      const key = keys[at]
      if (key === undefined || !key.startsWith(prefix)) return { entries, next: null }
      const found = this.#kv.get(key)
      assert(found !== undefined, `state: key ${at} is listed but not held`)
      entries.push(found)
    }
    const more = keys[at]?.startsWith(prefix) ?? false
    return { entries, next: more ? (entries.at(-1)?.key ?? null) : null }
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
        return this.#setKey(command, index)
      case 'kv-delete':
        return this.#deleteKey(command, index)
      case 'member-set':
        return this.#setMember(command.member, index)
      case 'member-delete':
        return this.#deleteMember(command, index)
      case 'replica-set':
        return this.#setReplica(command.replica, index)
      case 'replica-delete':
        return this.#deleteReplica(command, index)
      default:
        return unreachable(command)
    }
  }

  #setKey(command: Command & { kind: 'kv-set' }, index: Revision): CommandResult {
    const { key, value, expect } = command
    const current = this.#revisionOf(key)
    if (expect !== null && expect !== current) return { kind: 'revision-mismatch', revision: current }
    if (current === 0) this.#keys.add(key)
    const entry = { key, value, revision: index }
    this.#kv.set(key, entry)
    this.#kvEvents.push({ kind: 'put', ...entry })
    return { kind: 'done', revision: index }
  }

  /** The comparison comes first: an absent key has revision 0. */
  #deleteKey(command: Command & { kind: 'kv-delete' }, index: Revision): CommandResult {
    const { key, expect } = command
    const current = this.#revisionOf(key)
    if (expect !== null && expect !== current) return { kind: 'revision-mismatch', revision: current }
    if (current === 0) return { kind: 'not-found' }
    this.#kv.delete(key)
    this.#keys.remove(key)
    this.#kvEvents.push({ kind: 'delete', key, revision: index })
    return { kind: 'done', revision: index }
  }

  /** 0: there is no such key. Revisions begin at 1, as the indexes of the log do. */
  #revisionOf(key: string): Revision {
    return this.#kv.get(key)?.revision ?? 0
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
    this.#members.delete(node)
    this.#noteMembers()
    this.#withdraw((replica) => replica.node === node)
    return { kind: 'done', revision: index }
  }

  #withdraw(isGone: (replica: Replica) => boolean): void {
    for (const [key, replica] of this.#replicas) {
      if (!isGone(replica)) continue
      this.#replicas.delete(key)
      this.#noteReplicas()
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
      this.#replicas.set(key, replica)
      this.#noteReplicas()
    }
    return { kind: 'done', revision: index }
  }

  /** A late withdrawal by an older generation finds nothing: what stands there is not what it meant. */
  #deleteReplica(command: Command & { kind: 'replica-delete' }, index: Revision): CommandResult {
    const key = replicaKey(command.node, command.server)
    if (this.#replicas.get(key)?.generation !== command.generation) return { kind: 'not-found' }
    this.#replicas.delete(key)
    this.#noteReplicas()
    return { kind: 'done', revision: index }
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

function sameMember(a: Member, b: Member): boolean {
  return (
    a.generation === b.generation &&
    a.version === b.version &&
    a.startedAt === b.startedAt &&
    a.addresses.http === b.addresses.http &&
    a.addresses.peer === b.addresses.peer &&
    a.addresses.raft === b.addresses.raft &&
    sameLabels(a.labels, b.labels)
  )
}

function sameLabels(a: Member['labels'], b: Member['labels']): boolean {
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && a[name] === b[name])
}

function sameReplica(a: Replica, b: Replica): boolean {
  return (
    a.generation === b.generation &&
    a.transport === b.transport &&
    a.status === b.status &&
    a.reason === b.reason &&
    a.priority === b.priority &&
    sameOffer(a.offer, b.offer)
  )
}

function sameOffer(a: Offer | null, b: Offer | null): boolean {
  if (a === null || b === null) return a === b
  return (
    a.initialize === b.initialize &&
    a.tools === b.tools &&
    a.resources === b.resources &&
    a.resourceTemplates === b.resourceTemplates &&
    a.prompts === b.prompts
  )
}
