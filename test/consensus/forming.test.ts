import { describe, expect, it } from 'vitest'
import { Forming } from '../../src/consensus/forming.ts'
import type { FormedLog, FormingEffects, FormingEvent, FormingOptions } from '../../src/consensus/forming.ts'
import { decodeConfiguration } from '../../src/raft/configuration.ts'
import { assert } from '../../src/std/assert.ts'
import { Random } from '../../src/std/random.ts'
import type { FormingPromise } from '../../src/storage/log-store.ts'
import { compareIds } from '../../src/vocabulary/ids.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import type { FormingMessage } from '../../src/wire/forming.ts'

const [n1, n2, n3, n4] = ['n1', 'n2', 'n3', 'n4'] as [NodeId, NodeId, NodeId, NodeId]
const cluster = (name: string): ClusterId => name as ClusterId

function forming(options: Partial<FormingOptions> & { self: NodeId }): Forming {
  const newClusterId = cluster(`of-${options.self}`)
  const unbound = { promise: null, joined: null, formed: null, isLogLost: false }
  return new Forming({ bootstrapExpect: 3, ...unbound, newClusterId, ...options })
}

function opened(peer: NodeId, known: { clusterId?: ClusterId; promised?: ClusterId } = {}): FormingEvent {
  return { kind: 'peer-opened', peer, clusterId: known.clusterId ?? null, promised: known.promised ?? null }
}

function said(from: NodeId, message: FormingMessage): FormingEvent {
  return { kind: 'message', from, message }
}

function after(core: Forming, ...events: FormingEvent[]): FormingEffects {
  core.take()
  for (const event of events) core.step(event)
  return core.take()
}

const ofN1: FormingPromise = { clusterId: cluster('of-n1'), voters: [n1, n2, n3] }
const proposal: FormingMessage = { kind: 'form-propose', ...ofN1 }

describe('Forming', () => {
  it('waits until all founders are here, and says who is', () => {
    const core = forming({ self: n1 })
    expect(core.waitingFor()).toBe('1 of 3 nodes are here: n1; waiting for 2 more')
    expect(after(core, opened(n3))).toMatchObject({ persistPromise: null, send: [] })
    expect(core.waitingFor()).toBe('2 of 3 nodes are here: n1, n3; waiting for 1 more')
    expect(after(core, { kind: 'peer-closed', peer: n3 }, opened(n2)).persistPromise).toBeNull()
  })

  it('proposes nothing, and promises nothing new, where its log is lost: it may have formed a cluster', () => {
    const lost = forming({ self: n1, isLogLost: true })
    const { persistPromise, send } = after(lost, opened(n2), opened(n3))
    expect([persistPromise, send]).toEqual([null, []])
    const asked = after(forming({ self: n2, isLogLost: true }), opened(n1), said(n1, proposal))
    expect(asked.persistPromise).toBeNull()
    expect(asked.send).toEqual([
      {
        to: n1,
        message: { kind: 'form-refused', why: 'the log of n2 is lost, and it may have formed another cluster' },
      },
    ])
    const alone = forming({ self: n1, isLogLost: true, promise: { clusterId: cluster('c'), voters: [n1] } })
    expect(after(alone, { kind: 'tick' }).form).toBeNull()
    expect(alone.waitingFor()).toMatch(/^the log of n1 is lost, and no other node is known to have it/)
  })

  it('proposes what it has promised to nobody again where its log is lost: a wiped node would take it for the first time', () => {
    const lost = forming({ self: n1, isLogLost: true, promise: ofN1 })
    expect(after(lost, opened(n2), { kind: 'tick' }).send).toEqual([])
    const whole = forming({ self: n1, promise: ofN1 })
    expect(after(whole, opened(n2)).send).toEqual([{ to: n2, message: proposal }])
  })

  it('forms what it has promised when its log is lost and another has formed it', () => {
    for (const event of [
      opened(n2, { clusterId: ofN1.clusterId }),
      said(n2, { kind: 'formed', clusterId: ofN1.clusterId }),
    ]) {
      const lost = forming({ self: n1, isLogLost: true, promise: ofN1 })
      lost.step(opened(n2))
      expect(after(lost, event).form?.entry.index).toBe(1)
    }
  })

  it('proposes on the lowest id only, and only once its own promise is durable', () => {
    const core = forming({ self: n1 })
    expect(after(core, opened(n3), opened(n2))).toMatchObject({ persistPromise: ofN1, send: [], form: null })
    expect(core.promised).toBeNull()
    expect(after(core, { kind: 'promise-durable' }).send).toEqual([
      { to: n3, message: proposal },
      { to: n2, message: proposal },
    ])
    expect(core.promised).toBe('of-n1')
    const other = forming({ self: n2 })
    expect(after(other, opened(n1), opened(n3)).persistPromise).toBeNull()
    expect(other.waitingFor()).toBe('3 of 3 nodes are here: n1, n2, n3; waiting for n1 to propose the cluster')
  })

  it('answers a proposal only once the promise is durable', () => {
    const core = forming({ self: n2 })
    expect(after(core, opened(n1), said(n1, proposal))).toMatchObject({ persistPromise: ofN1, send: [] })
    expect(after(core, said(n1, proposal), { kind: 'tick' }).send).toEqual([])
    expect(after(core, { kind: 'promise-durable' }).send).toEqual([
      { to: n1, message: { kind: 'form-promised', clusterId: 'of-n1' } },
    ])
  })

  it('writes entry 1 when all have answered, and says so when that is durable', () => {
    const core = forming({ self: n1, promise: ofN1 })
    const promised: FormingMessage = { kind: 'form-promised', clusterId: ofN1.clusterId }
    expect(after(core, opened(n2), opened(n3), said(n2, promised), said(n2, promised)).form).toBeNull()
    expect(core.waitingFor()).toBe('cluster of-n1 of n1, n2, n3 is agreed; waiting for the promise of n3')
    const { form, send } = after(core, said(n3, promised))
    expect(send).toEqual([])
    expect(core.waitingFor()).toBe('cluster of-n1 of n1, n2, n3 is agreed; writing it down')
    expect(form).toMatchObject({
      hardState: { term: 1, vote: null, commit: 1, isRecovering: false },
      entry: { index: 1, term: 1, id: '' },
    })
    expect(form && decodeConfiguration(form.entry.data)).toMatchObject({ clusterId: 'of-n1', voters: [n1, n2, n3] })
    expect(after(core, { kind: 'formed-durable' }).send.map(({ to, message }) => [to, message.kind])).toEqual([
      ['n2', 'formed'],
      ['n3', 'formed'],
    ])
    expect(core.waitingFor()).toBeNull()
  })

  it('waits for nobody when it founds the cluster alone', () => {
    const core = forming({ self: n1, bootstrapExpect: 1 })
    expect(core.take().persistPromise?.voters).toEqual([n1])
    expect(core.waitingFor()).toBe('cluster of-n1 of n1 is agreed; writing it down')
    expect(after(core, { kind: 'promise-durable' }).form).not.toBeNull()
    expect(core.waitingFor()).toBe('cluster of-n1 of n1 is agreed; writing it down')
    after(core, { kind: 'formed-durable' })
    expect(core.waitingFor()).toBeNull()
  })

  it('joins the first formed cluster that lets it in, once, whether or not it might found one itself', () => {
    for (const bootstrapExpect of [null, 3]) {
      const core = forming({ self: n4, bootstrapExpect })
      const { persistJoined } = after(core, opened(n1, { clusterId: cluster('first') }))
      expect(persistJoined).toBe('first')
      expect(core.joined).toBe('first')
      expect(core.waitingFor()).toBe('cluster first has let this node in; waiting for its leader to send the log')
      expect(after(core, opened(n2, { clusterId: cluster('second') }), { kind: 'tick' })).toMatchObject({
        persistJoined: null,
        send: [],
      })
      after(core, { kind: 'joined-durable' })
      const { send, persistPromise } = after(core, opened(n3), said(n3, { kind: 'form-propose', ...ofN1 }))
      expect([persistPromise, send.map(({ message }) => message.kind)]).toEqual([null, ['form-refused']])
      expect(core.promised).toBeNull()
    }
  })

  it('says after a restart what it has joined, and refuses to form another', () => {
    const core = forming({ self: n2, joined: cluster('first') })
    expect(core.waitingFor()).toContain('cluster first has let this node in')
    const { send } = after(core, opened(n1), said(n1, { kind: 'form-propose', ...ofN1 }))
    expect(send).toMatchObject([{ to: n1, message: { kind: 'form-refused' } }])
    expect(core.promised).toBeNull()
  })

  it('tells a node that never forms how it is taken in', () => {
    const core = forming({ self: n4, bootstrapExpect: null })
    expect(core.waitingFor()).toContain('run "quorate raft add-learner n4"')
  })

  it('does not count an answer for another cluster', () => {
    const core = forming({ self: n1, promise: ofN1 })
    const other: FormingMessage = { kind: 'form-promised', clusterId: cluster('other') }
    expect(after(core, opened(n2), opened(n3), said(n2, other), said(n3, other)).form).toBeNull()
  })

  it('forms alone at once with a bootstrapExpect of 1', () => {
    const core = forming({ self: n1, bootstrapExpect: 1 })
    expect(core.take().persistPromise).toEqual({ clusterId: 'of-n1', voters: [n1] })
    const { form } = after(core, { kind: 'promise-durable' })
    expect(form && decodeConfiguration(form.entry.data)?.voters).toEqual([n1])
  })

  it('never forms without bootstrapExpect, and refuses to', () => {
    const core = forming({ self: n1, bootstrapExpect: null })
    expect(after(core, opened(n2), opened(n3)).persistPromise).toBeNull()
    expect(core.waitingFor()).toMatch(/never forms one/)
    const joiner = forming({ self: n2, bootstrapExpect: null })
    const { persistPromise, send } = after(joiner, opened(n1), said(n1, proposal))
    expect(persistPromise).toBeNull()
    expect(send).toMatchObject([{ to: 'n1', message: { kind: 'form-refused' } }])
  })

  it.each<[string, NodeId, FormingPromise, RegExp]>([
    ['of another number of voters', n1, { clusterId: cluster('x'), voters: [n1, n2] }, /cluster of 2, n2 has .* 3/],
    ['that does not hold this node', n1, { clusterId: cluster('x'), voters: [n1, n3, n4] }, /no list/],
    ['of one who is not the lowest', n3, { clusterId: cluster('x'), voters: [n1, n2, n3] }, /no list/],
    ['that is not sorted', n1, { clusterId: cluster('x'), voters: [n1, n3, n2] }, /no list/],
    ['that holds an id twice', n1, { clusterId: cluster('x'), voters: [n1, n2, n2] }, /no list/],
  ])('refuses a proposal %s', (_what, from, promise, why) => {
    const core = forming({ self: n2 })
    const { persistPromise, send } = after(core, opened(from), said(from, { kind: 'form-propose', ...promise }))
    expect(persistPromise).toBeNull()
    expect(send).toEqual([{ to: from, message: { kind: 'form-refused', why: expect.stringMatching(why) as string } }])
  })

  it('refuses a second, different promise and keeps the first', () => {
    const core = forming({ self: n3, promise: ofN1 })
    const second: FormingMessage = { kind: 'form-propose', clusterId: cluster('of-n2'), voters: [n2, n3, n4] }
    const effects = after(core, opened(n2), said(n2, second))
    expect(effects.persistPromise).toBeNull()
    expect(effects.send.at(-1)?.message).toEqual({
      kind: 'form-refused',
      why: 'n3 is bound to cluster of-n1 and can not form of-n2; if that cluster never formed, stop its nodes, empty their data directories and start them together',
    })
    const same: FormingMessage = { kind: 'form-propose', clusterId: ofN1.clusterId, voters: [n1, n3, n4] }
    expect(after(core, opened(n1), said(n1, same)).send.at(-1)?.message.kind).toBe('form-refused')
  })

  it('shows why it was refused while it waits', () => {
    const core = forming({ self: n1, promise: ofN1 })
    const effects = after(core, opened(n2), said(n2, { kind: 'form-refused', why: 'n2 is bound elsewhere' }))
    expect(effects.notices).toEqual([{ event: 'forming-refused', fields: { peer: n2, why: 'n2 is bound elsewhere' } }])
    expect(core.waitingFor()).toMatch(/promise of n2, n3 \(not connected: n3\); n2 is bound elsewhere$/)
  })

  it('tells one more node than expected that it came too late', () => {
    const core = forming({ self: n1 })
    after(core, opened(n2), opened(n3), opened(n4))
    const { send } = after(core, { kind: 'promise-durable' })
    expect(send.map(({ to, message }) => [to, message.kind])).toEqual([
      ['n2', 'form-propose'],
      ['n3', 'form-propose'],
      ['n4', 'form-refused'],
    ])
  })

  it('proposes the stored promise again after a restart, whoever else is here', () => {
    const core = forming({ self: n1, promise: ofN1, newClusterId: cluster('fresh') })
    expect(after(core, opened(n4), opened(n2)).send).toMatchObject([
      { to: 'n4', message: { kind: 'form-refused' } },
      { to: 'n2', message: proposal },
    ])
  })

  it('forms when a handshake says that the promised cluster has formed', () => {
    const core = forming({ self: n3, promise: ofN1 })
    expect(after(core, opened(n2, { clusterId: ofN1.clusterId })).form?.entry.index).toBe(1)
    const stranger = forming({ self: n3, promise: ofN1 })
    expect(after(stranger, opened(n2, { clusterId: cluster('other') })).form).toBeNull()
  })

  it('does not form by word of mouth what it never promised', () => {
    const core = forming({ self: n3 })
    expect(after(core, opened(n1), said(n1, { kind: 'formed', clusterId: ofN1.clusterId })).form).toBeNull()
  })

  it('does not form at the word of another cluster', () => {
    const core = forming({ self: n3, promise: ofN1 })
    const effects = after(core, opened(n1), said(n1, { kind: 'formed', clusterId: cluster('other') }))
    expect(effects.form).toBeNull()
  })

  it('asks again whoever answered and went away, since its disk may have gone too', () => {
    const core = forming({ self: n1, promise: ofN1 })
    const promised: FormingMessage = { kind: 'form-promised', clusterId: ofN1.clusterId }
    after(core, opened(n2), said(n2, promised), { kind: 'peer-closed', peer: n2 })
    expect(after(core, opened(n3), said(n3, promised)).form).toBeNull()
    expect(after(core, opened(n2)).send).toEqual([{ to: n2, message: proposal }])
  })

  it('tells a late founder that the cluster has formed', () => {
    const core = forming({ self: n2, promise: ofN1, formed: ofN1.clusterId })
    const formed: FormingMessage = { kind: 'formed', clusterId: ofN1.clusterId }
    expect(after(core, opened(n3, { promised: ofN1.clusterId })).send).toEqual([{ to: n3, message: formed }])
    const asked = after(core, said(n3, { kind: 'form-promised', clusterId: ofN1.clusterId }))
    expect(asked.send).toEqual([{ to: n3, message: formed }])
    expect(after(core, { kind: 'tick' }).send).toEqual([])
  })

  it('leaves out of the count whoever is bound to another cluster', () => {
    const core = forming({ self: n1 })
    const bound = opened(n2, { promised: cluster('other') })
    expect(after(core, bound, opened(n3)).persistPromise).toBeNull()
    expect(core.waitingFor()).toBe('2 of 3 nodes are here: n1, n3; waiting for 1 more')
  })

  it('forms one cluster or none through any crashes, cuts and losses, and forms when they end', () => {
    for (let seed = 1; seed <= 400; seed += 1) {
      const world = new World(seed, [n1, n2, n3])
      for (let at = 0; at < 120; at += 1) world.disturb()
      world.heal()
      const formed = world.formed()
      expect([formed.length, new Set(formed).size], `seed ${seed}`).toEqual([3, 1])
    }
  })

  it('forms at most one cluster per founder when there are more of them than expected', () => {
    for (let seed = 1; seed <= 200; seed += 1) {
      const world = new World(seed, [n1, n2, n3, n4])
      for (let at = 0; at < 150; at += 1) world.disturb()
      world.heal()
      expect(new Set(world.formed()).size, `seed ${seed}`).toBeLessThanOrEqual(1)
    }
  })
})

/** Nodes with durable disks and cores that die; links that break; messages that are delivered late or lost. */
class World {
  readonly #random: Random
  readonly #ids: readonly NodeId[]
  readonly #disks = new Map<NodeId, { promise: FormingPromise | null; log: FormedLog | null }>()
  readonly #cores = new Map<NodeId, { core: Forming; writes: (() => void)[] }>()
  readonly #links = new Set<string>()
  #started = 0
  #flying: { from: NodeId; to: NodeId; message: FormingMessage }[] = []

  constructor(seed: number, ids: readonly NodeId[]) {
    this.#random = new Random(seed)
    this.#ids = ids
    for (const id of ids) this.#disks.set(id, { promise: null, log: null })
  }

  disturb(): void {
    const [a, b] = [this.#any(this.#ids), this.#any(this.#ids)]
    const dice = this.#random.below(100)
    if (dice < 8) this.#crash(a)
    else if (dice < 24) this.#start(a)
    else if (dice < 30) this.#cut(a, b)
    else if (dice < 50) this.#connect(a, b)
    else if (dice < 65) this.#write(a)
    else if (dice < 70) this.#step(a, { kind: 'tick' })
    else if (dice < 72) this.#flying.shift()
    else this.#deliver()
  }

  heal(): void {
    for (let round = 0; round < 20; round += 1) {
      for (const id of this.#ids) this.#start(id)
      for (const a of this.#ids) for (const b of this.#ids) this.#connect(a, b)
      while (this.#flying.length > 0) this.#deliver()
      for (const id of this.#ids) while (this.#write(id));
      for (const id of this.#ids) this.#step(id, { kind: 'tick' })
    }
  }

  formed(): (string | undefined)[] {
    return this.#ids.flatMap((id) => {
      const log = this.#disks.get(id)?.log
      return log ? [decodeConfiguration(log.entry.data)?.clusterId] : []
    })
  }

  #any(ids: readonly NodeId[]): NodeId {
    return ids[this.#random.below(ids.length)] ?? n1
  }

  #start(id: NodeId): void {
    const disk = this.#disks.get(id)
    if (disk === undefined || this.#cores.has(id)) return
    const formed = disk.log && (decodeConfiguration(disk.log.entry.data)?.clusterId ?? null)
    this.#started += 1
    const newClusterId = cluster(`${id}-${this.#started}`)
    const core = new Forming({
      self: id,
      bootstrapExpect: 3,
      promise: disk.promise,
      joined: null,
      formed,
      isLogLost: false,
      newClusterId,
    })
    this.#cores.set(id, { core, writes: [] })
    this.#perform(id)
  }

  #crash(id: NodeId): void {
    for (const other of this.#ids) this.#cut(id, other)
    this.#cores.delete(id)
  }

  #connect(a: NodeId, b: NodeId): void {
    if (a === b || !this.#cores.has(a) || !this.#cores.has(b) || this.#links.has(linkOf(a, b))) return
    this.#links.add(linkOf(a, b))
    const [helloA, helloB] = [this.#hello(a), this.#hello(b)]
    this.#step(a, helloB)
    this.#step(b, helloA)
  }

  #hello(id: NodeId): FormingEvent {
    const log = this.#disks.get(id)?.log
    const clusterId = log ? decodeConfiguration(log.entry.data)?.clusterId : undefined
    const promised = this.#cores.get(id)?.core.promised ?? undefined
    return opened(id, { ...(clusterId && { clusterId }), ...(promised && { promised }) })
  }

  #cut(a: NodeId, b: NodeId): void {
    if (!this.#links.delete(linkOf(a, b))) return
    this.#flying = this.#flying.filter(({ from, to }) => linkOf(from, to) !== linkOf(a, b))
    this.#step(a, { kind: 'peer-closed', peer: b })
    this.#step(b, { kind: 'peer-closed', peer: a })
  }

  #deliver(): void {
    const flying = this.#flying.shift()
    if (flying !== undefined) this.#step(flying.to, said(flying.from, flying.message))
  }

  /** Ends the oldest write of the node; a crash before that loses it. */
  #write(id: NodeId): boolean {
    const write = this.#cores.get(id)?.writes.shift()
    write?.()
    return write !== undefined
  }

  #step(id: NodeId, event: FormingEvent): void {
    this.#cores.get(id)?.core.step(event)
    this.#perform(id)
  }

  #perform(id: NodeId): void {
    const node = this.#cores.get(id)
    const disk = this.#disks.get(id)
    if (node === undefined || disk === undefined) return
    const { persistPromise, form, send } = node.core.take()
    for (const { to, message } of send)
      if (this.#links.has(linkOf(id, to))) this.#flying.push({ from: id, to, message })
    if (persistPromise !== null) {
      node.writes.push(() => {
        assert(disk.promise === null, `${id} promises twice`)
        disk.promise = persistPromise
        this.#step(id, { kind: 'promise-durable' })
      })
    }
    if (form !== null) {
      node.writes.push(() => {
        assert(disk.log === null, `${id} forms twice`)
        disk.log = form
        this.#checkAgreement(form)
        this.#step(id, { kind: 'formed-durable' })
      })
    }
  }

  /** Whoever formed has the same entry 1, and every voter in it has promised exactly that. */
  #checkAgreement(form: FormedLog): void {
    const text = JSON.stringify(form)
    const configuration = decodeConfiguration(form.entry.data)
    for (const voter of configuration?.voters ?? []) {
      const { promise, log } = this.#disks.get(voter) ?? { promise: null, log: null }
      assert(promise?.clusterId === configuration?.clusterId, `${voter} never promised what was formed`)
      assert(log === null || JSON.stringify(log) === text, `${voter} formed otherwise`)
    }
  }
}

function linkOf(a: NodeId, b: NodeId): string {
  return compareIds(a, b) < 0 ? `${a} ${b}` : `${b} ${a}`
}
