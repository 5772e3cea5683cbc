import { assert, unreachable } from '../std/assert.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import type { Offer } from '../vocabulary/offer.ts'
import type { Malformed } from './command-codec.ts'
import type { Command, CommandResult, Member, Replica, Revision } from './command.ts'
import type { KvEntry, StateChange, StateReader } from './reader.ts'
import { SortedKeys, compareBytewise, lowerBound } from './sorted-keys.ts'

/**
 * What all nodes agree on: key-value pairs, the directory of members, the replicas of servers. A function of the applied
 * entries alone: the same entries make the same state on every node.
 *
 * The pairs are bounded by the log, which refuses to grow past its own limit; members and replicas by the limits below.
 * Those limits and the codec's decide what is refused, so they belong to what nodes agree on: see command-codec.
 */
export class ClusterState implements StateReader {
  readonly #kv = new Map<string, KvEntry>()
  readonly #keys = new SortedKeys()
  readonly #members = new Map<NodeId, Member>()
  readonly #replicas = new Map<string, Replica>()
  #sortedMembers: readonly Member[] | null = null
  #sortedReplicas: readonly Replica[] | null = null
  #appliedIndex = 0
  #catalogVersion = 0
  readonly #changedKeys = new Set<string>()
  #catalogChanged = false
  #membersChanged = false

  get appliedIndex(): number {
    return this.#appliedIndex
  }

  get catalogVersion(): number {
    return this.#catalogVersion
  }

  /** Takes every entry of the log in turn. Null: an entry of Raft's own (no-op, configuration), which changes nothing. */
  apply(entry: { readonly index: number; readonly command: Command | Malformed | null }): CommandResult {
    const { index, command } = entry
    assert(index === this.#appliedIndex + 1, `state: entry ${index} does not follow ${this.#appliedIndex}`)
    this.#appliedIndex = index
    if (command === null) return { kind: 'done', revision: index }
    if ('malformed' in command) return { kind: 'refused', reason: `malformed command: ${command.malformed}` }
    return this.#applyCommand(command, index)
  }

  /** What changed since the last take (each key once); at most what the entries applied since then can name. */
  takeChange(): StateChange {
    const change = { kv: [...this.#changedKeys], catalog: this.#catalogChanged, members: this.#membersChanged }
    this.#changedKeys.clear()
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

  #applyCommand(command: Command, index: Revision): CommandResult {
    switch (command.kind) {
      case 'kv-set':
        return this.#setKey(command, index)
      case 'kv-delete':
        return this.#deleteKey(command, index)
      case 'member-set':
        return this.#setMember(command.member, index)
      case 'replica-set':
        return this.#setReplica(command.replica, index)
      case 'replica-delete':
        return this.#deleteReplica(command, index)
      case 'barrier':
        return { kind: 'done', revision: index }
      default:
        return unreachable(command)
    }
  }

  #setKey(command: Command & { kind: 'kv-set' }, index: Revision): CommandResult {
    const { key, value, expect } = command
    const current = this.#revisionOf(key)
    if (expect !== null && expect !== current) return { kind: 'revision-mismatch', revision: current }
    if (current === 0) this.#keys.add(key)
    this.#kv.set(key, { key, value, revision: index })
    this.#changedKeys.add(key)
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
    this.#changedKeys.add(key)
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
    for (const [key, replica] of this.#replicas) {
      if (replica.node !== member.node || replica.generation === member.generation) continue
      this.#replicas.delete(key)
      this.#noteReplicas()
    }
    return { kind: 'done', revision: index }
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
