/**
 * One random life of a small cluster from a seed: messages are lost, repeated and reordered, links break, nodes fall at
 * the edges of every effect (before a write, after it and before its messages, after those) and start again. After every
 * change the claims of Raft's figure 3 are checked, and those of the ordering rules; at the end everything heals, and the
 * cluster has to agree and go on. Only a `propose` is never repeated: the transport delivers at most once.
 */
import type { RaftEffects } from '../../src/raft/effects.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type { Message } from '../../src/raft/messages.ts'
import { assert } from '../../src/std/assert.ts'
import { Random } from '../../src/std/random.ts'
import type { NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { entryAt, Lab, termAt } from './lab.ts'
import type { LabNode } from './lab.ts'

export type ChaosOutcome = { committed: number; proposed: number; refused: number; terms: number; falls: number }

export function runChaos(seed: number, actions: number): ChaosOutcome {
  const life = new Life(seed)
  for (let i = 0; i < actions; i += 1) life.act()
  life.heal()
  return life.outcome
}

/** How often what happens, drawn per seed, so that seeds differ in kind and not only in order. */
type Weather = {
  tick: number
  deliver: number
  lose: number
  repeat: number
  persist: number
  fall: number
  cut: number
}

class Life {
  readonly #random: Random
  readonly #weather: Weather
  readonly #lab: Lab
  readonly #claims: Claims
  #cut: NodeId | null = null
  #proposed = 0
  #falls = 0

  constructor(seed: number) {
    const random = new Random(seed)
    this.#random = random
    this.#weather = {
      tick: 10 + random.below(30),
      deliver: 30 + random.below(60),
      lose: random.below(8),
      repeat: random.below(15),
      persist: 10 + random.below(40),
      fall: random.below(5),
      cut: random.below(3),
    }
    this.#claims = new Claims()
    const limits = {
      appendBytesMax: 150 + random.below(400),
      uncommittedBytesMax: 1_000,
      electionTicks: 6,
      heartbeatTicks: 2,
    }
    this.#lab = new Lab({
      size: random.below(3) === 0 ? 5 : 3,
      seed,
      limits,
      observe: (node, effects) => this.#claims.check(this.#lab, node, effects),
    })
    this.#lab.startAll()
  }

  get outcome(): ChaosOutcome {
    const { committed, refused, terms } = this.#claims
    return { committed: committed.length, proposed: this.#proposed, refused: refused.size, terms, falls: this.#falls }
  }

  act(): void {
    const { tick, deliver, lose, persist, fall, cut } = this.#weather
    const choices: [number, () => void][] = [
      [tick, () => this.#tick()],
      [deliver, () => this.#deliver()],
      [lose, () => this.#takeMessage()],
      [persist, () => this.#persist()],
      [4, () => this.#propose()],
      [fall, () => this.#fall()],
      [6, () => this.#rise()],
      [cut, () => this.#toggleCut()],
      [1, () => this.#breakLink()],
    ]
    let at = this.#random.below(choices.reduce((sum, [weight]) => sum + weight, 0))
    for (const [weight, choice] of choices) {
      at -= weight
      if (at >= 0) continue
      choice()
      break
    }
    while (this.#lab.network.length > 60) this.#takeMessage()
  }

  /** No more faults: within some election timeouts one leader, equal logs, and a new command applied everywhere. */
  heal(): void {
    const lab = this.#lab
    this.#cut = null
    lab.network = []
    for (const id of lab.ids) if (lab.node(id).raft === undefined) lab.start(id)
    for (let round = 0; round < 300; round += 1) {
      for (const id of lab.ids) lab.tick(id)
      lab.settle()
      const leader = lab.leaders[0]
      if (round === 200 && leader !== undefined) lab.propose(leader, { id: 'last' })
    }
    assert(lab.leaders.length === 1, `one leader after healing, not ${lab.leaders.length}`)
    assert(
      this.#claims.committed.some((entry) => entry.id === 'last'),
      'a proposal after healing is committed',
    )
    for (const id of lab.ids) {
      const { applied } = lab.node(id)
      assert(applied.length === this.#claims.committed.length, `${id} has applied everything after healing`)
    }
  }

  #pick<T>(list: readonly T[]): T | undefined {
    return list.length === 0 ? undefined : list[this.#random.below(list.length)]
  }

  #running(): LabNode | undefined {
    return this.#pick([...this.#lab.nodes.values()].filter((node) => node.raft !== undefined))
  }

  #tick(): void {
    const node = this.#running()
    if (node !== undefined) this.#lab.tick(node.id, 1 + this.#random.below(3))
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
    if (this.#random.below(2) === 0) this.#lab.start(node.id)
  }

  #rise(): void {
    const down = this.#pick([...this.#lab.nodes.values()].filter((node) => node.raft === undefined))
    if (down !== undefined) this.#lab.start(down.id)
  }

  #toggleCut(): void {
    this.#cut = this.#cut === null ? (this.#pick(this.#lab.ids) ?? null) : null
  }

  /** A link breaks: one message is known not to have left, or its sender only learns that the peer is gone. */
  #breakLink(): void {
    const message = this.#takeMessage()
    if (message === undefined || this.#lab.node(message.from).raft === undefined) return
    if (message.kind === 'propose' || this.#random.below(2) === 0)
      this.#lab.step(message.from, { kind: 'unsent', message })
    else this.#lab.step(message.from, { kind: 'unreachable', peer: message.to })
  }
}

/** What must be true at any time, kept by an observer that sees all nodes. */
class Claims {
  /** By index - 1: what some node has applied; never changes. */
  readonly committed: Entry[] = []
  readonly refused = new Set<ProposalId>()
  readonly #committedIds = new Set<ProposalId>()
  readonly #leaderOfTerm = new Map<number, NodeId>()
  /** For each (index, term) ever appended: its content and the term before it. */
  readonly #places = new Map<string, string>()
  /** Each node's commit index, in its present life and term as leader. */
  readonly #leading = new Map<NodeId, { key: string; commit: number }>()

  get terms(): number {
    return this.#leaderOfTerm.size
  }

  check(lab: Lab, node: LabNode, effects: RaftEffects): void {
    for (const entry of effects.persist?.entries ?? []) this.#checkMatching(node, entry)
    for (const entry of effects.apply) this.#checkApplied(node, entry)
    for (const { id } of effects.refused) {
      this.refused.add(id)
      assert(!this.#committedIds.has(id), `refused proposal ${id} is not committed`)
    }
    const { status } = effects
    if (status?.role !== 'leader') return
    const known = this.#leaderOfTerm.get(status.term)
    assert(
      known === undefined || known === node.id,
      `election safety: ${known} and ${node.id} lead term ${status.term}`,
    )
    this.#leaderOfTerm.set(status.term, node.id)
    this.#checkLeader(lab, node, { term: status.term, commit: status.commitIndex })
  }

  /** Log matching: same index and term, same content and same term before; the rest follows by induction. */
  #checkMatching(node: LabNode, entry: Entry): void {
    const before = entry.index === 1 ? 0 : termAt(node.memory, entry.index - 1)
    const key = `${entry.index}/${entry.term}`
    const content = `${entry.kind} ${entry.id} after term ${before}`
    const known = this.#places.get(key)
    assert(known === undefined || known === content, `log matching at ${key}: ${known}, ${content}`)
    this.#places.set(key, content)
  }

  #checkApplied(node: LabNode, entry: Entry): void {
    assert(node.applied[entry.index - 1] === entry, `${node.id} applies ${entry.index} in its place`)
    const onDisk = entryAt(node.disk, entry.index)
    assert(onDisk?.term === entry.term, `${node.id} applies ${entry.index} only when it is on its disk`)
    const known = this.committed[entry.index - 1]
    if (known !== undefined) {
      const isSame = known.term === entry.term && known.id === entry.id && known.kind === entry.kind
      assert(isSame, `state machine safety at ${entry.index}: ${known.term}/${known.id}, ${entry.term}/${entry.id}`)
      return
    }
    assert(entry.index === this.committed.length + 1, 'committed without a gap')
    this.committed.push(entry)
    if (entry.id === '') return
    assert(!this.#committedIds.has(entry.id), `proposal ${entry.id} is applied once`)
    assert(!this.refused.has(entry.id), `refused proposal ${entry.id} is not applied`)
    this.#committedIds.add(entry.id)
  }

  #checkLeader(lab: Lab, node: LabNode, now: { term: number; commit: number }): void {
    const key = `${node.lives} ${now.term}`
    const before = this.#leading.get(node.id)
    if (before?.key !== key) {
      for (const entry of this.committed) {
        assert(termAt(node.memory, entry.index) === entry.term, `leader completeness: ${node.id} lacks ${entry.index}`)
      }
    } else if (now.commit > before.commit) {
      const entry = entryAt(node.memory, now.commit)
      assert(entry?.term === now.term, `${node.id} commits by an entry of its own term`)
      const copies = [...lab.nodes.values()].filter(({ disk }) => termAt(disk, now.commit) === now.term).length
      assert(copies * 2 > lab.nodes.size, `what ${node.id} commits at ${now.commit} is on a majority of disks`)
    }
    this.#leading.set(node.id, { key, commit: now.commit })
  }
}
