/**
 * One random life of a small cluster from a seed: messages are lost, repeated and reordered, links break, nodes fall at
 * the edges of every effect (before a write, after it and before its messages, after those) and start again, some of them
 * without all that their disks had; disks are full; logs are
 * compacted, snapshots get lost, nodes come and go, leaders hand over, clients write and read. After every change the
 * invariants are checked; at the end everything heals, and the cluster has to agree and go on. Only a `propose` is never
 * repeated: the transport delivers at most once.
 */
import type { ConfigurationChange } from '../../src/raft/configuration.ts'
import type { Message } from '../../src/raft/messages.ts'
import { assert } from '../../src/std/assert.ts'
import { Random } from '../../src/std/random.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { checkDisk, Invariants } from './invariants.ts'
import { Lab } from './lab.ts'
import type { LabNode } from './lab.ts'
import { configurationOf, lastIndexOf } from './lab-disk.ts'
import { drawLimits, drawWeather } from './weather.ts'
import type { Weather } from './weather.ts'

type OfClients = 'committed' | 'proposed' | 'refused' | 'reads'
type OfNodes = 'terms' | 'falls' | 'restored' | 'compacted' | 'changed' | 'recovered'

/** How often that happened in a life. */
export type ChaosOutcome = Record<OfClients | OfNodes, number>

export function runChaos(seed: number, actions: number): ChaosOutcome {
  const life = new Life(seed)
  for (let i = 0; i < actions; i += 1) life.act()
  life.heal()
  return life.outcome
}

/** Ids that may join; each once at a time, and again when it was removed. */
const spares = ['n6', 'n7', 'n8'] as NodeId[]

class Life {
  readonly #random: Random
  readonly #weather: Weather
  readonly #lab: Lab
  readonly #invariants = new Invariants()
  #cut: NodeId | null = null
  #proposed = 0
  #falls = 0
  #restored = 0
  #compacted = 0
  #changed = 0

  constructor(seed: number) {
    const random = new Random(seed)
    this.#random = random
    this.#weather = drawWeather(random)
    this.#lab = new Lab({
      size: random.below(3) === 0 ? 5 : 3,
      seed,
      limits: drawLimits(random, this.#weather),
      observe: (node, effects) => {
        this.#restored += effects.restore === null ? 0 : 1
        this.#compacted += (effects.persist?.compact ?? null) === null ? 0 : 1
        this.#invariants.check(this.#lab, node, effects)
      },
    })
    this.#lab.startAll()
  }

  get outcome(): ChaosOutcome {
    const { committed, refused, terms, readsAnswered, recovered } = this.#invariants
    return {
      committed: committed.length,
      proposed: this.#proposed,
      refused: refused.size,
      terms,
      falls: this.#falls,
      restored: this.#restored,
      compacted: this.#compacted,
      changed: this.#changed,
      reads: readsAnswered.size,
      recovered,
    }
  }

  act(): void {
    const { tick, deliver, lose, persist, fall, cut, read, snapshot, install, change, transfer, gone } = this.#weather
    const { damage, full } = this.#weather
    const choices: [number, () => void][] = [
      [tick, () => this.#tick()],
      [deliver, () => this.#deliver()],
      [lose, () => this.#takeMessage()],
      [persist, () => this.#persist()],
      [4, () => this.#propose()],
      [read, () => this.#read()],
      [fall, () => this.#fall()],
      [6, () => this.#rise()],
      [cut, () => this.#toggleCut()],
      [1, () => this.#breakLink()],
      [snapshot, () => this.#snapshot()],
      [install, () => this.#install()],
      [change, () => this.#change()],
      [change, () => this.#join()],
      [transfer, () => this.#transfer()],
      [gone, () => this.#tellGone()],
      [damage, () => this.#damage()],
      [full, () => this.#toggleFull()],
    ]
    let at = this.#random.below(choices.reduce((sum, [weight]) => sum + weight, 0))
    for (const [weight, choice] of choices) {
      at -= weight
      if (at >= 0) continue
      choice()
      break
    }
    while (this.#lab.network.length > 80) this.#takeMessage()
  }

  /**
   * No more faults: within some election timeouts one leader, a settled configuration, equal states, and new commands and reads
   * served everywhere.
   */
  heal(): void {
    const lab = this.#lab
    this.#cut = null
    lab.network = []
    for (const snapshot of lab.snapshotsOnTheirWay.splice(0)) lab.failSnapshot(snapshot)
    for (const id of lab.ids) {
      if (lab.node(id).raft === undefined) this.#start(id)
      this.#setDisk(id, null)
    }
    if (this.#weather.isFullAtTheEnd) this.#goOnWithFullDisks()
    let read = 0
    for (let round = 0; round < 300; round += 1) {
      this.#beat(round)
      const leader = lab.leaders[0]
      if (round === 200 && leader !== undefined) lab.propose(leader, { id: 'last' })
      if (round === 210) read = this.#readAt(this.#members()[0])
    }
    assert(lab.leaders.length === 1, `one leader after healing, not ${lab.leaders.length}`)
    const { committed, readsAnswered } = this.#invariants
    assert(
      committed.some((entry) => entry.id === 'last'),
      'a proposal after healing is committed',
    )
    assert(readsAnswered.has(read), 'a read after healing is answered')
    assert(this.#invariants.configuration?.votersOutgoing.length === 0, 'no configuration stays joint')
    for (const id of this.#members()) {
      assert(lab.node(id).applied.length === committed.length, `${id} has applied everything after healing`)
      assert(!lab.raft(id).status().isRecovering, `${id} has recovered after healing`)
    }
  }

  /**
   * What is in the logs is agreed on, whoever leads; there are reads, but no commands. When the logs are alike, a new leader
   * needs nothing that is spare.
   */
  #goOnWithFullDisks(): void {
    const lab = this.#lab
    for (const spareBytes of [Infinity, 0]) {
      for (const id of lab.ids) this.#setDisk(id, spareBytes)
      for (let round = 0; round < 100; round += 1) this.#beat(round)
      const [leader] = lab.leaders
      assert(leader !== undefined, 'there is a leader though all disks are full')
      const read = this.#readAt(leader)
      const { refused } = lab.propose(leader, { id: 'too-much' })
      assert(refused[0]?.why === 'disk-full', 'no command is taken while all disks are full')
      lab.settle()
      this.#beat(0)
      assert(this.#invariants.readsAnswered.has(read), 'a read is answered though all disks are full')
      lab.crash(leader)
      this.#start(leader)
    }
    for (const id of lab.ids) this.#setDisk(id, null)
  }

  #beat(round: number): void {
    for (const id of this.#lab.ids) this.#lab.tick(id)
    this.#lab.settle()
    if (round % 20 === 0) this.#lab.giveUpSnapshots()
  }

  #members(): readonly NodeId[] {
    const { voters = [], learners = [] } = this.#invariants.configuration ?? {}
    return [...voters, ...learners].filter((id) => this.#lab.nodes.has(id))
  }

  #pick<T>(list: readonly T[]): T | undefined {
    return list.length === 0 ? undefined : list[this.#random.below(list.length)]
  }

  #running(): LabNode | undefined {
    return this.#pick([...this.#lab.nodes.values()].filter((node) => node.raft !== undefined))
  }

  #start(id: NodeId): void {
    checkDisk(this.#lab.node(id))
    this.#lab.start(id)
  }

  #tick(): void {
    const node = this.#running()
    // Clocks differ, and go back at times.
    this.#lab.now += this.#random.below(40) - 5
    if (node === undefined) return
    const ids = this.#weather.hasLeases
      ? this.#lab.ids.filter((id) => this.#lab.node(id).raft !== undefined)
      : [node.id]
    const ticks = 1 + this.#random.below(this.#weather.hasLeases ? 1 : 3)
    for (const id of ids) this.#lab.tick(id, ticks)
  }

  #takeMessage(): Message | undefined {
    const { network } = this.#lab
    // Mostly near the front: late messages exist, but are not the rule.
    const at = this.#random.below(4) === 0 ? this.#random.below(Math.max(1, network.length)) : 0
    return network.splice(at, 1)[0]
  }

  #deliver(): void {
    const message = this.#takeMessage()
    if (message === undefined) return
    const isRepeated = this.#random.below(100) < this.#weather.repeat && message.kind !== 'propose'
    if (isRepeated) this.#lab.network.splice(this.#random.below(this.#lab.network.length + 1), 0, message)
    if (message.from !== this.#cut && message.to !== this.#cut) this.#lab.deliver(message)
  }

  #persist(): void {
    const node = this.#pick([...this.#lab.nodes.values()].filter((node) => node.writes.length > 0))
    if (node !== undefined) this.#lab.persist(node.id)
  }

  #propose(): void {
    const node = this.#running()
    if (node === undefined) return
    this.#proposed += 1
    this.#lab.propose(node.id, { id: `p${this.#proposed}` })
  }

  #read(): void {
    const node = this.#running()
    if (node !== undefined) this.#readAt(node.id)
  }

  #readAt(id: NodeId | undefined): number {
    assert(id !== undefined, 'there is a member')
    this.#invariants.readAsked(this.#lab.nextRead)
    return this.#lab.read(id)
  }

  #fall(): void {
    const node = this.#running()
    if (node === undefined) return
    this.#falls += 1
    const edge = this.#random.below(3)
    // Before the write; after the write and before what waits for it; after half of that.
    if (edge > 0 && node.writes.length > 0) {
      const batch = this.#lab.write(node.id)
      if (edge === 2) this.#lab.send(node.id, batch.then.slice(0, 1))
    }
    this.#lab.crash(node.id)
    if (this.#random.below(2) === 0) this.#start(node.id)
  }

  /**
   * A node falls, and its disk comes back as it was some writes ago, or cut short, or empty; its term may be an old one, too. As
   * many nodes stay sound as are needed to go on.
   */
  #damage(): void {
    const node = this.#pick([...this.#lab.nodes.values()])
    if (node === undefined || !this.#canGoOnWithout(node.id)) return
    this.#falls += 1
    this.#lab.crash(node.id)
    const left = this.#random.below(2) === 0 ? node.disk : (this.#pick(node.before) ?? node.disk)
    const { term } = this.#random.below(4) === 0 ? left.hardState : node.disk.hardState
    const last = lastIndexOf(left)
    const upTo = this.#random.below(8) === 0 ? 0 : last - this.#random.below(Math.min(5, last + 1))
    this.#lab.damage(node.id, { left, upTo, term, isTold: true })
    if (this.#random.below(2) === 0) this.#start(node.id)
  }

  #canGoOnWithout(id: NodeId): boolean {
    const isChanging = this.#lab.network.some(({ kind, ...rest }) => {
      return kind === 'propose' && 'content' in rest && rest.content.kind === 'change'
    })
    if (isChanging) return false
    const damaged = new Set([...this.#damaged(), id])
    return [...this.#lab.nodes.values()].every(({ raft, disk }) => {
      const { voters, votersOutgoing } = raft?.status().configuration ?? configurationOf(disk)
      return [voters, votersOutgoing].every((set) => set.length === 0 || 2 * damaged.size < set.length)
    })
  }

  /** Who has not recovered yet, of all that are, or may be about to be, members. */
  #damaged(): readonly NodeId[] {
    const ids = this.#lab.ids.filter((id) => this.#members().includes(id) || this.#isLeaderAware(id))
    return ids.filter((id) => this.#lab.node(id).disk.hardState.isRecovering)
  }

  #toggleFull(): void {
    const node = this.#running()
    if (node === undefined) return
    this.#setDisk(node.id, this.#random.below(2) === 0 ? this.#random.below(3) * this.#random.below(400) : null)
  }

  /** Full, but for so many bytes; null: there is room. */
  #setDisk(id: NodeId, spareBytes: number | null): void {
    this.#lab.step(id, { kind: 'disk-full', isFull: spareBytes !== null, spareBytes: spareBytes ?? 0 })
  }

  #rise(): void {
    const down = this.#pick([...this.#lab.nodes.values()].filter((node) => node.raft === undefined))
    if (down !== undefined) this.#start(down.id)
  }

  #toggleCut(): void {
    // Often a leader, which may then take itself for one while another is.
    const ids = this.#random.below(2) === 0 ? this.#lab.leaders : this.#lab.ids
    this.#cut = this.#cut === null ? (this.#pick(ids) ?? null) : null
  }

  /** A link breaks: one message is known not to have left, or its sender only learns that the peer is gone. */
  #breakLink(): void {
    const message = this.#takeMessage()
    if (message === undefined || this.#lab.node(message.from).raft === undefined) return
    if (message.kind === 'propose' || this.#random.below(2) === 0)
      this.#lab.step(message.from, { kind: 'unsent', message })
    else this.#lab.step(message.from, { kind: 'unreachable', peer: message.to })
  }

  #snapshot(): void {
    const node = this.#running()
    if (node === undefined || node.applied.length === 0) return
    this.#lab.snapshot(node.id, node.applied.length - this.#random.below(Math.min(3, node.applied.length)))
  }

  #install(): void {
    const { snapshotsOnTheirWay } = this.#lab
    const at = this.#random.below(Math.max(1, snapshotsOnTheirWay.length))
    const [snapshot] = snapshotsOnTheirWay.splice(at, 1)
    if (this.#random.below(10) === 0) this.#lab.giveUpSnapshots()
    if (snapshot === undefined) return
    const { from, to } = snapshot
    const isLost = this.#random.below(4) === 0 || from === this.#cut || to === this.#cut
    if (isLost) this.#lab.failSnapshot(snapshot)
    else this.#lab.deliverSnapshot(snapshot)
  }

  #change(): void {
    const leader = this.#pick(this.#lab.leaders)
    if (leader === undefined) return
    const { voters, learners } = this.#lab.raft(leader).status().configuration
    const joined = spares.filter((id) => this.#lab.nodes.has(id))
    // Who is damaged, and not known to be, must not become one of a few.
    if (this.#damaged().length > 0) return
    const changes: ConfigurationChange[] = [
      ...joined.map((node) => ({ kind: 'add-learner', node, promote: this.#random.below(2) === 0 }) as const),
      ...learners.map((node) => ({ kind: 'promote', node }) as const),
      ...learners.map((node) => ({ kind: 'remove', node }) as const),
      ...(voters.length > 2 ? voters.map((node) => ({ kind: 'remove', node }) as const) : []),
    ]
    const change = this.#pick(changes)
    if (change === undefined) return
    this.#proposed += 1
    const asked = this.#random.below(2) === 0 ? leader : (this.#running()?.id ?? leader)
    const { refused } = this.#lab.change(asked, { id: `p${this.#proposed}`, change })
    if (refused.length === 0) this.#changed += 1
  }

  /**
   * A node with an empty disk waits to be let in: a new one, or, when its removal is committed, one that was removed and has
   * lost everything.
   */
  #join(): void {
    const id = this.#pick(spares)
    if (id === undefined) return
    const isMember = this.#lab.nodes.has(id) && (this.#members().includes(id) || this.#isLeaderAware(id))
    if (!isMember) this.#lab.join(id)
  }

  /** Whether a leader may be about to make it a member. */
  #isLeaderAware(id: NodeId): boolean {
    return this.#lab.leaders.some((leader) => {
      const { voters, votersOutgoing, learners } = this.#lab.raft(leader).status().configuration
      return [...voters, ...votersOutgoing, ...learners].includes(id)
    })
  }

  #transfer(): void {
    const leader = this.#pick(this.#lab.leaders)
    if (leader === undefined) return
    const to = this.#random.below(2) === 0 ? null : (this.#pick(this.#lab.ids) ?? null)
    this.#lab.step(leader, { kind: 'transfer', to })
  }

  /** Some node believes, rightly or not, that another one's process is gone. */
  #tellGone(): void {
    const node = this.#running()
    const peer = this.#pick(this.#lab.ids)
    if (node !== undefined && peer !== undefined) this.#lab.step(node.id, { kind: 'peer-gone', peer })
  }
}
