import { decodeConfiguration } from '../../src/raft/configuration.ts'
import type { Configuration } from '../../src/raft/configuration.ts'
import type { RaftEffects, RaftStatus } from '../../src/raft/effects.ts'
import type { Entry, Index, Term } from '../../src/raft/entry.ts'
import { isMember } from '../../src/raft/quorum.ts'
import type { Message } from '../../src/raft/messages.ts'
import { isDamage } from '../../src/storage/log-record.ts'
import type { StoredNode } from '../../src/storage/log-store.ts'
import { decodeSlots } from '../../src/storage/vote-record.ts'
import type { NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { newestRules, oneIsOpen, snapshotHoldsItsOwn } from './configuration-claims.ts'
import { KeyValue } from './key-value.ts'
import type { SimDisk } from './sim-disk.ts'
import { hashOf, placeOf, termOf, viewOf } from './node-view.ts'
import type { CommittedEntry, NodeView, Place } from './node-view.ts'
import { RecoveryClaims } from './recovery-claims.ts'
import { mix } from './streams.ts'
import type { World } from './world.ts'

/**
 * What must be true after every event, kept by an observer that sees every node's effects, disk and applied entries. By
 * log matching an entry is known by its index and term alone, so every check is a comparison of terms: constant work for
 * each entry that some node gains.
 */
export class Invariants {
  readonly #world: World
  readonly #disks: ReadonlyMap<NodeId, SimDisk>
  /** For each (index, term) ever in a log: a hash of the entry and of the term before it. */
  readonly #places = new Map<string, number>()
  readonly #leaderOfTerm = new Map<Term, NodeId>()
  /** At index - 1: what is committed for ever. */
  readonly committed: CommittedEntry[] = []
  readonly #committedAt = new Map<ProposalId, Index>()
  readonly #refused = new Map<ProposalId, string>()
  /** At the applied index: the state's hash. */
  readonly #stateHashes = new Map<Index, number>()
  /** Applies what is committed, once, in order: what every node's state is held against. */
  readonly #oracle = new KeyValue()
  readonly #views = new Map<NodeId, NodeView>()
  /** The highest index that some client has seen the effect of: a later read has to see it too. */
  #seenIndex: Index = 0
  readonly #recovery = new RecoveryClaims()
  terms = 0

  constructor(world: World, disks: ReadonlyMap<NodeId, SimDisk>) {
    this.#world = world
    this.#disks = disks
  }

  get seenIndex(): Index {
    return this.#seenIndex
  }

  get commitIndex(): Index {
    return this.committed.length
  }

  /** The node that leads the highest term, dead or alive. */
  newestLeader(): NodeId | null {
    return this.#leaderOfTerm.get(Math.max(0, ...this.#leaderOfTerm.keys())) ?? null
  }

  /** Whether a committed configuration leaves the node out that an earlier one had, be it that a later one has it again. */
  hasRemoved(node: NodeId): boolean {
    let hasHad = false
    for (const { configuration } of this.committed) {
      if (configuration === null) continue
      if (isMember(configuration, node)) hasHad = true
      else if (hasHad) return true
    }
    return false
  }

  /** The configuration that is committed last. */
  configuration(): Configuration | null {
    for (let at = this.committed.length - 1; at >= 0; at -= 1) {
      const configuration = this.committed[at]?.configuration
      if (configuration !== undefined && configuration !== null) return configuration
    }
    return null
  }

  /** Whether nobody counts on what the node had at that place: it was no voter then or since, or no member at all since. */
  mayComeBlank(node: NodeId, from: Index): boolean {
    let isLearner = true
    for (let at = this.committed.length - 1; at >= 0; at -= 1) {
      const configuration = this.committed[at]?.configuration
      if (configuration === undefined || configuration === null) continue
      if (!isMember(configuration, node)) return true
      isLearner &&= configuration.learners.includes(node)
      if (at < from) return isLearner
    }
    return isLearner
  }

  view(node: NodeId): NodeView | undefined {
    return this.#views.get(node)
  }

  booted(stored: StoredNode): void {
    const node = stored.nodeId
    const view = viewOf(stored)
    let before = placeOf(view, view.firstIndex - 1)
    for (const entry of stored.entries) {
      this.#checkPlace(node, entry, before)
      before = entry
    }
    this.#views.set(node, view)
    this.#recovery.booted(node)
  }

  /** A driver writes: what forming writes comes without a core that wanted it. */
  written(node: NodeId, entries: readonly Entry[]): void {
    const view = this.#views.get(node)
    const isFoundation = entries[0]?.index === 1 && view?.entries.length === 0 && view.base === null
    if (view === undefined || !isFoundation) return
    if (this.#disks.get(node)?.isWiped === true)
      this.#violate('a wiped node is refused', `${node} founds a cluster anew`)
    for (const entry of entries) this.#append(view, entry)
  }

  /** Somebody let a node in that has nothing: not one who takes it for a voter. */
  joined(node: NodeId): void {
    if (this.#disks.get(node)?.isWiped !== true) return
    const others = [...this.#views.values()].filter((view) => view.node !== node)
    const mayHost = others.some(({ configuration }) => {
      if (configuration === null || configuration.voters.length === 0) return false
      return configuration.learners.includes(node) || !isMember(configuration, node)
    })
    if (!mayHost) this.#violate('a wiped node is refused', `${node} joins a cluster of which it is a voter`)
  }

  took(node: NodeId, effects: RaftEffects, status: RaftStatus): void {
    const view = this.#views.get(node)
    if (view === undefined) return
    this.#checkMonotone(view, effects, status)
    this.#checkRecovering(view, status)
    if (effects.persist !== null) this.#follow(view, effects.persist, status)
    const ledIn = status.role === 'leader' ? status.term : view.term
    this.#checkRole(view, status)
    if (status.commitIndex > view.commit) this.#checkCommit(view, status, ledIn)
    view.commit = status.commitIndex
    this.#checkConfigurations(view, effects, status)
    view.configuration = status.configuration
    for (const { id, why } of effects.refused) this.refused(id, why)
  }

  refused(id: ProposalId, why: string): void {
    this.#refused.set(id, why)
    const index = this.#committedAt.get(id)
    if (index !== undefined) this.#violate('a refused proposal is never applied', `${id} (${why}) stands at ${index}`)
  }

  /** The driver hands them to the state machine. */
  handedOver(node: NodeId, entries: readonly Entry[]): void {
    const view = this.#views.get(node)
    const disk = this.#disks.get(node)
    if (view === undefined || disk === undefined) return
    for (const entry of entries) {
      if (entry.index !== view.applied + 1)
        this.#violate('entries are applied in order, each once', `${node} applies ${entry.index} after ${view.applied}`)
      view.applied = entry.index
      const known = this.committed[entry.index - 1]
      if (known === undefined || known.term !== entry.term)
        this.#violate('only what is committed is applied', `${node} applies ${entry.index} of term ${entry.term}`)
      else if (known.hash !== hashOf(entry))
        this.#violate('state machine safety', `${node} applies another entry at ${entry.index}`)
      if (disk.image.term(entry.index) !== entry.term && entry.index >= disk.image.firstIndex)
        this.#violate('only what is durable here is applied', `${node} applies ${entry.index}, not on its disk`)
    }
  }

  restored(node: NodeId, index: Index): void {
    const view = this.#views.get(node)
    if (view === undefined) return
    if (index < view.applied) this.#violate('what is applied stays', `${node} restores ${index} after ${view.applied}`)
    if (index > this.committed.length)
      this.#violate('a snapshot holds committed entries only', `${node} restores ${index} of ${this.committed.length}`)
    view.applied = index
  }

  /** A node's state machine is at this index now. */
  state(node: NodeId, machine: KeyValue): void {
    const known = this.#stateHashes.get(machine.index)
    if (known === undefined || known === machine.hash) return
    this.#violate('equal state at an equal index', `${node} has another state at ${machine.index}`)
  }

  /** A client was told of something at this index. */
  seen(index: Index): void {
    this.#seenIndex = Math.max(this.#seenIndex, index)
  }

  acknowledged(id: ProposalId, index: Index): void {
    if (this.#committedAt.get(id) !== index)
      this.#violate('an acknowledged write is committed', `${id} is acknowledged at ${index}`)
    this.seen(index)
  }

  /** A message leaves a node. What it promises has to be on the platter (R1). */
  sent(node: NodeId, message: Message): void {
    const disk = this.#disks.get(node)
    if (disk === undefined) return
    const { lastIndex, hardState } = disk.image
    const { term } = message
    const now = this.#views.get(node)?.isRecovering === true
    const broken = this.#recovery.sent(message, { durably: hardState.isRecovering, now })
    if (broken !== null) this.#violate(broken.claim, broken.detail)
    if (message.kind === 'vote-response' && message.granted) {
      if (!isVoteDurable(hardState, term, message.to))
        this.#violate('a vote is durable before it is said', `${node} votes for ${message.to} in ${term}`)
      this.#checkBothHomes(disk, term, message.to)
    }
    if (message.kind === 'append-accepted') {
      if (hardState.term < term)
        this.#violate('a term is durable before it is answered in', `${node} accepts in term ${term}`)
      if (hardState.term === term && lastIndex < message.match)
        this.#violate(
          'an entry is durable before it is acknowledged',
          `${node} accepts ${message.match} of ${lastIndex}`,
        )
    }
    if (message.kind === 'vote-request') {
      if (hardState.term < term || (hardState.term === term && hardState.vote !== node))
        this.#violate('a candidate votes for itself durably before it asks', `${node} asks for votes in ${term}`)
      this.#checkBothHomes(disk, term, node)
    }
    if (message.kind === 'append-request' || message.kind === 'heartbeat-request') this.#leads(node, term)
  }

  /** Damage of one home leaves the other. */
  #checkBothHomes({ node, votes }: SimDisk, term: Term, vote: NodeId): void {
    const file = votes.isDamaged ? null : votes.readDurable()
    const slots = file === null ? null : decodeSlots(file)
    if (slots === null || isDamage(slots) || isVoteDurable(slots.record, term, vote)) return
    this.#violate('a vote is durable in both homes before it is said', `${node} votes for ${vote} in ${term}`)
  }

  /** Who finds by itself that it has lost something is right. */
  #checkRecovering(view: NodeView, { isRecovering, role }: RaftStatus): void {
    if (isRecovering && role !== 'follower') this.#violate('a recovering node follows', `${view.node} is ${role}`)
    if (isRecovering && !view.isRecovering && this.#disks.get(view.node)?.silentlyLost === null)
      this.#violate('only who lost something recovers', `${view.node} recovers all of a sudden`)
    view.isRecovering = isRecovering
  }

  #leads(node: NodeId, term: Term): void {
    const known = this.#leaderOfTerm.get(term)
    if (known === node) return
    if (known !== undefined) this.#violate('election safety', `${known} and ${node} lead term ${term}`)
    this.#leaderOfTerm.set(term, node)
    this.terms += 1
  }

  #checkMonotone(view: NodeView, effects: RaftEffects, status: RaftStatus): void {
    const { node } = view
    if (status.term < view.term) this.#violate('a term never falls', `${node}: ${status.term} after ${view.term}`)
    if (status.commitIndex < view.commit)
      this.#violate('a commit index never falls', `${node}: ${status.commitIndex} after ${view.commit}`)
    if (status.commitIndex > status.lastIndex)
      this.#violate('a commit index is in the log', `${node}: ${status.commitIndex} of ${status.lastIndex}`)
    const hard = effects.persist?.hardState
    if (hard === undefined) return
    if (hard.term === view.term && view.vote !== null && hard.vote !== view.vote)
      this.#violate('a vote is given once in a term', `${node}: ${hard.vote} after ${view.vote} in ${hard.term}`)
    view.vote = hard.vote
  }

  /** Brings the view of the node's log to what the core now has. */
  #follow(view: NodeView, persist: NonNullable<RaftEffects['persist']>, status: RaftStatus): void {
    const { install, compact } = persist
    if (install !== null) {
      view.base = install
      view.firstIndex = install.index + 1
      view.entries = []
      view.configurations = []
      const known = this.committed[install.index - 1]
      if (known === undefined || known.term !== install.term)
        this.#violate(
          'a snapshot holds committed entries only',
          `${view.node} installs ${install.index}/${install.term}`,
        )
    }
    if (persist.truncateFrom !== null) {
      if (view.role === 'leader' && view.term === status.term && status.role === 'leader')
        this.#violate('a leader only appends', `${view.node} truncates from ${persist.truncateFrom}`)
      if (persist.truncateFrom <= view.commit)
        this.#violate('what is committed is not truncated', `${view.node} truncates from ${persist.truncateFrom}`)
      view.entries.length = Math.max(0, Math.min(view.entries.length, persist.truncateFrom - view.firstIndex))
      view.configurations = view.configurations.filter((index) => index < (persist.truncateFrom ?? 0))
    }
    for (const entry of persist.entries) this.#append(view, entry)
    if (compact === null) return
    view.base = compact.snapshot
    if (compact.firstIndex > view.firstIndex) {
      view.entries = view.entries.slice(compact.firstIndex - view.firstIndex)
      view.firstIndex = compact.firstIndex
    }
  }

  #append(view: NodeView, entry: Entry): void {
    const last = view.firstIndex + view.entries.length - 1
    if (entry.index !== last + 1) {
      this.#violate('a log has no gap', `${view.node} appends ${entry.index} after ${last}`)
      return
    }
    this.#checkPlace(view.node, entry, placeOf(view, last))
    view.entries.push(entry)
    if (entry.kind === 'configuration') view.configurations.push(entry.index)
  }

  #checkConfigurations(view: NodeView, effects: RaftEffects, status: RaftStatus): void {
    const { persist } = effects
    const hasMoved = persist !== null && (persist.truncateFrom !== null || persist.install !== null)
    if (status.configuration !== view.configuration || hasMoved)
      this.#claim('the newest configuration rules', view.node, newestRules(view, status.configuration))
    this.#claim('one configuration at a time is uncommitted', view.node, oneIsOpen(view, this.committed.length))
    for (const snapshot of [persist?.install ?? null, persist?.compact?.snapshot ?? null]) {
      if (snapshot === null) continue
      if (this.#disks.get(view.node)?.hasSnapshot(snapshot) === false)
        this.#violate('a log stands on a snapshot that is durable', `${view.node}: ${snapshot.index} is not there`)
      const broken = snapshotHoldsItsOwn(snapshot, this.committed)
      this.#claim('a snapshot holds the configuration of its index', view.node, broken)
    }
  }

  #checkPlace(node: NodeId, entry: Entry, before: Place | undefined): void {
    if (before === undefined) return
    if (entry.time < before.time)
      this.#violate('log time never falls', `${node}: ${entry.time} at ${entry.index} after ${before.time}`)
    const termBefore = before.term
    const key = `${entry.index}/${entry.term}`
    const hash = mix(hashOf(entry), termBefore)
    const known = this.#places.get(key)
    if (known === undefined) this.#places.set(key, hash)
    else if (known !== hash) this.#violate('log matching', `${node} has another entry or past at ${key}`)
  }

  #checkRole(view: NodeView, status: RaftStatus): void {
    const isNew = status.role === 'leader' && (view.role !== 'leader' || view.term !== status.term)
    view.role = status.role
    view.term = status.term
    if (!isNew) return
    this.#leads(view.node, status.term)
    // Leader completeness: all that was committed in earlier terms.
    let index = this.committed.length
    while (index > 0 && (this.committed[index - 1]?.inTerm ?? 0) >= status.term) index -= 1
    const entry = this.committed[index - 1]
    if (entry === undefined || index < view.firstIndex) return
    const has = termOf(view, index)
    if (has !== entry.term)
      this.#violate(
        'leader completeness',
        `${view.node} leads term ${status.term} with ${has} at ${index}, committed ${entry.term}`,
      )
  }

  /** `ledIn`: a leader that steps down may have committed something before, in the same turn. */
  #checkCommit(view: NodeView, status: RaftStatus, ledIn: Term): void {
    for (let index = view.commit + 1; index <= status.commitIndex; index += 1) {
      const term = termOf(view, index)
      const known = this.committed[index - 1]
      if (known === undefined) break
      if (term !== undefined && term !== known.term)
        this.#violate(
          'what is committed is the same everywhere',
          `${view.node} commits ${index}/${term}, was ${known.term}`,
        )
    }
    if (status.commitIndex <= this.committed.length) return
    this.#checkQuorum(view, status, ledIn)
  }

  /** Something is committed for the first time. */
  #checkQuorum(view: NodeView, status: RaftStatus, ledIn: Term): void {
    const index = status.commitIndex
    const term = termOf(view, index)
    if (status.role === 'leader' && term !== status.term)
      this.#violate(
        'only an entry of the own term is committed by counting',
        `${view.node} commits ${index}/${term} in ${status.term}`,
      )
    // Entry 1 is the founders' promise, which each of them made durable before any wrote it.
    const awaited = this.#recovery.awaited(view.node, ledIn)
    for (const at of [...awaited.filter((each) => each > this.committed.length && each < index), index])
      if (at > 1) this.#checkHeld(view, status.configuration, { index: at, term: termOf(view, at), ledIn })
    for (let at = this.committed.length + 1; at <= index; at += 1) this.#commit(view, at, status.term)
  }

  #checkHeld(view: NodeView, configuration: Configuration, at: CommittedPlace): void {
    // A configuration that was appended in the same turn rules only what is committed after it.
    const before = view.configuration ?? configuration
    const isHolding = (node: NodeId): boolean => this.#holds(node, at, view.node)
    if (isHeld(configuration, isHolding) || isHeld(before, isHolding)) return
    const holders = [...this.#disks.keys()].filter(isHolding).join(', ')
    const { voters, votersOutgoing } = configuration
    this.#violate(
      'what is committed is on a majority of disks',
      `${view.node} commits ${at.index}/${at.term}, on ${holders || 'none'} of ${voters.join(', ')} / ${votersOutgoing.join(', ')}`,
    )
  }

  /** Or may be taken for one that does, since the leader can not know that it has lost it. */
  #holds(node: NodeId, { index, term, ledIn }: CommittedPlace, leader: NodeId): boolean {
    const disk = this.#disks.get(node)
    if (disk === undefined) return false
    const { image } = disk
    const hasLost = image.hardState.isRecovering || disk.silentlyLost !== null || disk.isWiped
    if (hasLost && this.#recovery.hasAcknowledged(node, leader, { index, term: ledIn })) return true
    const behind = this.#recovery.countsBehind(node, leader, ledIn)
    if (image.hardState.isRecovering && behind === 0) return false
    return index > behind && (image.term(index) === term || index < image.firstIndex)
  }

  #commit(view: NodeView, index: Index, inTerm: Term): void {
    const entry = view.entries[index - view.firstIndex]
    if (entry === undefined) {
      this.#violate('what is committed is in the log', `${view.node} commits ${index} and does not have it`)
      return
    }
    const configuration = entry.kind === 'configuration' ? (decodeConfiguration(entry.data) ?? null) : null
    this.committed.push({ term: entry.term, inTerm, hash: hashOf(entry), id: entry.id, configuration })
    this.#oracle.apply(entry)
    this.#stateHashes.set(index, this.#oracle.hash)
    if (entry.id === '') return
    const before = this.#committedAt.get(entry.id)
    if (before !== undefined) this.#violate('a proposal is committed once', `${entry.id} at ${before} and ${index}`)
    this.#committedAt.set(entry.id, index)
    const why = this.#refused.get(entry.id)
    if (why !== undefined)
      this.#violate('a refused proposal is never applied', `${entry.id} (${why}) stands at ${index}`)
  }

  broken(claim: string, detail: string): void {
    this.#violate(claim, detail)
  }

  #claim(claim: string, node: NodeId, broken: string | null): void {
    if (broken !== null) this.#violate(claim, `${node}: ${broken}`)
  }

  #violate(claim: string, detail: string): void {
    this.#world.violate(claim, detail)
  }
}

/** What is committed, and the term of the leader that did. */
type CommittedPlace = { readonly index: Index; readonly term: Term | undefined; readonly ledIn: Term }

function isHeld({ voters, votersOutgoing }: Configuration, isHolding: (node: NodeId) => boolean): boolean {
  return [voters, votersOutgoing].every((set) => set.length === 0 || set.filter(isHolding).length * 2 > set.length)
}

function isVoteDurable(
  durable: { readonly term: Term; readonly vote: NodeId | null },
  term: Term,
  vote: NodeId,
): boolean {
  return durable.term > term || (durable.term === term && durable.vote === vote)
}
