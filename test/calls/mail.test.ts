import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Mail, MailPosition } from '../../src/calls/call.ts'
import { Mailboxes } from '../../src/calls/mailboxes.ts'
import type { CloseBox, MailLimits, MailOpening } from '../../src/calls/mailboxes.ts'
import { ClusterMailroom } from '../../src/calls/mailroom.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { NodeId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { ManualClock } from '../consensus/manual-clock.ts'

const session = 's1' as SessionId
const server = 'files' as ServerName
const mail = (text: string): { server: ServerName; message: Mail['message'] } => ({ server, message: asJsonText(text) })

/** The boxes of a node and whoever reads them. */
function boxes(limits: Partial<MailLimits> = {}, epoch = 7) {
  const clock = new ManualClock()
  const mailboxes = new Mailboxes({ epoch, clock, limits })
  const open = (given: Partial<MailOpening> = {}, takes = Infinity) => {
    const reading = {
      heard: [] as Mail[],
      at: null as MailPosition | null,
      displaced: 0,
      close: (() => undefined) as CloseBox,
    }
    const box = { session, position: null, isFresh: true, isAgain: false, ...given }
    reading.close = mailboxes.open(box, {
      at: (position) => (reading.at = position),
      mail: (each) => reading.heard.length < takes && reading.heard.push(each) > 0,
      displaced: () => (reading.displaced += 1),
    })
    return { ...reading, texts: () => reading.heard.map(({ message }) => message as string), now: () => reading }
  }
  const put = (...texts: string[]): void => {
    for (const text of texts) mailboxes.put(session, mail(text))
  }
  const at = (seq: number, of = epoch): Partial<MailOpening> => ({ position: { epoch: of, seq } })
  return { mailboxes, clock, open, put, at }
}

describe('a box', () => {
  it('hands what waits and what comes to its reading, in order, and tells before from where on', () => {
    const { put, open } = boxes()
    put('1', '2')
    const reading = open()
    put('3')
    expect(reading.now().at).toEqual({ epoch: 7, seq: 0 })
    expect(reading.now().heard).toEqual(['1', '2', '3'].map((text, at) => ({ seq: at + 1, ...mail(text) })))
  })

  it('without a position gives only what nobody has read yet, and with one what is behind it', () => {
    const { put, open, at } = boxes()
    put('1', '2')
    open().close()
    put('3')
    const fresh = open()
    expect(fresh.texts()).toEqual(['3'])
    expect(fresh.now().at).toEqual({ epoch: 7, seq: 2 })
    expect(open(at(1)).texts()).toEqual(['2', '3'])
  })

  it('that is closed while mail is on its way keeps that for who begins anew', () => {
    const { put, open } = boxes()
    const reading = open()
    put('1', '2', '3')
    reading.now().close(1)
    expect(open().texts()).toEqual(['2', '3'])
  })

  it('without a position of its own in an event id gives what came since the client had none, handed out or not', () => {
    const { put, open } = boxes()
    put('1')
    open().close()
    const fresh = open()
    put('2', '3')
    fresh.now().close()
    expect(open({ isFresh: false }).texts()).toEqual(['2', '3'])
    expect(open({ isFresh: false }).texts()).toEqual(['2', '3'])
    expect(open().texts()).toEqual([])
  })

  it('read by another life of the node, is read from its start', () => {
    const { put, open, at } = boxes()
    put('1', '2')
    open().close()
    expect(open(at(99, 6)).texts()).toEqual(['1', '2'])
  })

  it('keeps no more what the client is known to have', () => {
    const { mailboxes, put, open, at } = boxes()
    put('1', '2', '3')
    open(at(2)).close()
    expect(mailboxes.counters.mails).toBe(1)
    expect(open(at(0)).texts()).toEqual(['3'])
  })

  it('has one reading: a later one displaces it, but one that goes on after a gap does not', () => {
    const { put, open, at } = boxes()
    const first = open()
    const second = open()
    const again = open({ ...at(0), isAgain: true })
    put('1')
    expect([first, second, again].map((each) => each.now().displaced)).toEqual([1, 0, 1])
    expect([first, second, again].map((each) => each.texts())).toEqual([[], ['1'], []])
    first.now().close()
    put('2')
    expect(second.texts()).toEqual(['1', '2'])
  })

  it('forgets a reading that can take no more, which goes on where it stood when it opens again', () => {
    const { put, open, at } = boxes()
    const slow = open({}, 2)
    put('1', '2', '3', '4')
    expect(slow.texts()).toEqual(['1', '2'])
    expect(open({ ...at(2), isAgain: true }).texts()).toEqual(['3', '4'])
  })

  it('that was empty and is there again does not use a position twice', () => {
    const { mailboxes, put, open, at, clock } = boxes()
    put('1', '2')
    clock.advance(302_000)
    expect(mailboxes.counters).toMatchObject({ boxes: 0, mails: 0, bytes: 0, lost: 2 })
    put('3')
    expect(open(at(2)).texts()).toEqual(['3'])
  })
})

describe('mail is bounded', () => {
  it('in number and bytes of a session: the oldest is lost', () => {
    const few = boxes({ boxMailsMax: 3 })
    few.put('1', '2', '3', '4', '5')
    expect(few.open().texts()).toEqual(['3', '4', '5'])
    expect(few.mailboxes.counters.lost).toBe(2)
    const short = boxes({ boxBytesMax: 1000 })
    for (let n = 0; n < 9; n += 1) short.put(`"${n}${'x'.repeat(200)}"`)
    expect(short.mailboxes.counters.bytes).toBeLessThanOrEqual(1000)
    const long = `"${'x'.repeat(5000)}"`
    short.put(long)
    expect(short.open().texts()).toEqual([long])
  })

  it('in bytes of all sessions: the oldest of all is lost, and what is read counts as none that is lost', () => {
    const { mailboxes, put, open } = boxes({ bytesMax: 2000 })
    open()
    put('"read"')
    for (let n = 0; n < 20; n += 1) mailboxes.put(`other ${n}` as SessionId, mail(`"${'x'.repeat(98)}"`))
    expect(mailboxes.counters.bytes).toBeLessThanOrEqual(2000)
    expect(mailboxes.counters.lost).toBe(20 - mailboxes.counters.mails)
    expect(open({ position: { epoch: 7, seq: 0 } }).texts()).toEqual([])
  })

  it('in time, and nothing is left of a session that has ended, or after the stop', () => {
    const { mailboxes, put, open, clock } = boxes()
    put('1')
    clock.advance(200_000)
    put('2')
    clock.advance(101_000)
    const reading = open()
    expect(reading.texts()).toEqual(['2'])
    mailboxes.sessionsEnded([session])
    expect(mailboxes.counters).toMatchObject({ boxes: 0, mails: 0, bytes: 0 })
    reading.now().close()
    put('3')
    mailboxes.stop()
    expect(clock.timers).toBe(0)
    expect(mailboxes.counters.boxes).toBe(0)
  })
})

/** Nodes with boxes and mailrooms; what one says to another waits in order until it is carried, or is lost with the link. */
class Nodes {
  readonly #nodes = new Map<NodeId, ReturnType<Nodes['make']>>()
  readonly #links = new Map<string, (() => void)[]>()

  constructor(...ids: string[]) {
    for (const id of ids) this.#nodes.set(id as NodeId, this.make(id as NodeId, 1))
    for (const a of ids) for (const b of ids) if (a < b) this.link(a, b)
  }

  make(self: NodeId, epoch: number) {
    const mailboxes = new Mailboxes({ epoch, clock: new ManualClock() })
    const opened = new Map<string, CloseBox>()
    const to = (node: NodeId, act: (other: ReturnType<Nodes['make']>) => void): void => {
      this.#links.get(`${self} ${node}`)?.push(() => act(this.at(node)))
    }
    const close = (key: string, arrived: number | null = null): void => {
      opened.get(key)?.(arrived ?? undefined)
      opened.delete(key)
    }
    const mailroom: ClusterMailroom = new ClusterMailroom({
      self,
      boxes: mailboxes,
      links: {
        nodes: () => [...this.#nodes.keys()].filter((node) => this.#links.has(`${self} ${node}`)),
        open: (node, reading, opening) => to(node, (other) => other.serve(self, reading, opening)),
        close: (node, reading, arrived) => to(node, (other) => other.close(`${self} ${reading}`, arrived)),
      },
    })
    const serve = (peer: NodeId, number: number, opening: MailOpening): void => {
      close(`${peer} ${number}`)
      const box = mailboxes.open(opening, {
        at: (position) => to(peer, (other) => other.mailroom.opened(self, number, position)),
        mail: (each) => {
          to(peer, (other) => other.mailroom.mail(self, number, { epoch, mail: each }))
          return true
        },
        displaced: () => to(peer, (other) => other.mailroom.displaced(number)),
      })
      opened.set(`${peer} ${number}`, box)
    }
    const unlinked = (peer: NodeId): void => {
      for (const key of opened.keys()) if (key.startsWith(`${peer} `)) close(key)
    }
    return { mailboxes, mailroom, serve, close, unlinked, epoch }
  }

  at(id: string): ReturnType<Nodes['make']> {
    return this.#nodes.get(id as NodeId) ?? expect.fail(`no node ${id}`)
  }

  link(a: string, b: string): void {
    if (this.#links.has(`${a} ${b}`)) return
    this.#links.set(`${a} ${b}`, [])
    this.#links.set(`${b} ${a}`, [])
    this.at(a).mailroom.linked(b as NodeId)
    this.at(b).mailroom.linked(a as NodeId)
  }

  unlink(a: string, b: string): void {
    this.#links.delete(`${a} ${b}`)
    this.#links.delete(`${b} ${a}`)
    this.at(a).unlinked(b as NodeId)
    this.at(b).unlinked(a as NodeId)
  }

  /** Until nothing waits any more. */
  async carry(): Promise<void> {
    for (;;) {
      await Promise.resolve()
      const waiting = [...this.#links.values()].find((queue) => queue.length > 0)
      if (waiting === undefined) return
      waiting.shift()?.()
    }
  }
}

/** A stream of the session at a node; `has`: what a client would send as Last-Event-ID after each thing it was told. */
function listen(nodes: Nodes, at: string, from: ReadonlyMap<NodeId, MailPosition> = new Map()) {
  const stream = {
    heard: [] as { node: NodeId; text: string; seq: number }[],
    has: [new Map(from)],
    displaced: 0,
    stop: (): void => undefined,
  }
  const note = (node: NodeId, position: MailPosition): void => {
    stream.has.push(new Map(stream.has.at(-1)).set(node, position))
  }
  stream.stop = nodes.at(at).mailroom.read(session, from, {
    at: (node, position) => {
      note(node, position)
      stream.heard.push({ node, text: '', seq: position.seq })
    },
    mail: (node, epoch, { seq, message }) => {
      note(node, { epoch, seq })
      stream.heard.push({ node, text: message, seq })
    },
    displaced: () => (stream.displaced += 1),
  })
  return stream
}
const textsOf = (stream: ReturnType<typeof listen>): string[] =>
  stream.heard.filter(({ text }) => text !== '').map(({ text }) => text)

describe('the mailroom', () => {
  it('reads the boxes of this node and of all others', async () => {
    const nodes = new Nodes('a', 'b', 'c')
    nodes.at('b').mailboxes.put(session, mail('1'))
    const stream = listen(nodes, 'a')
    expect(stream.heard).toEqual([])
    await nodes.carry()
    for (const [at, text] of [
      ['a', '2'],
      ['c', '3'],
    ] as const)
      nodes.at(at).mailboxes.put(session, mail(text))
    nodes.at('c').mailboxes.put('another' as SessionId, mail('0'))
    await nodes.carry()
    expect(textsOf(stream).toSorted()).toEqual(['1', '2', '3'])
    stream.stop()
    await nodes.carry()
    nodes.at('c').mailboxes.put(session, mail('4'))
    await nodes.carry()
    expect(textsOf(stream).length).toBe(3)
    for (const id of ['a', 'b', 'c']) expect(nodes.at(id).mailroom.size).toBe(0)
  })

  it('goes on where it stood when a link comes back, and reads a node that comes later', async () => {
    const nodes = new Nodes('a', 'b')
    const stream = listen(nodes, 'a')
    await nodes.carry()
    nodes.at('b').mailboxes.put(session, mail('1'))
    await nodes.carry()
    nodes.at('b').mailboxes.put(session, mail('2'))
    nodes.unlink('a', 'b')
    nodes.at('b').mailboxes.put(session, mail('3'))
    nodes.link('a', 'b')
    await nodes.carry()
    expect(textsOf(stream)).toEqual(['1', '2', '3'])
  })

  it.each(['a', 'b'])('a later stream at node %s displaces one at node a, wherever the mail is', async (at) => {
    const nodes = new Nodes('a', 'b', 'c')
    const first = listen(nodes, 'a')
    await nodes.carry()
    const second = listen(nodes, at)
    await nodes.carry()
    for (const [node, text] of [
      ['a', '1'],
      ['b', '2'],
      ['c', '3'],
    ] as const)
      nodes.at(node).mailboxes.put(session, mail(text))
    await nodes.carry()
    expect([first.displaced, second.displaced]).toEqual([1, 0])
    expect([textsOf(first), textsOf(second).toSorted()]).toEqual([[], ['1', '2', '3']])
  })

  it('a stale stream does not take the mail back from a later one when its link returns', async () => {
    const nodes = new Nodes('a', 'b', 'c')
    nodes.unlink('a', 'c')
    const stale = listen(nodes, 'a')
    await nodes.carry()
    nodes.unlink('a', 'b')
    const later = listen(nodes, 'c')
    await nodes.carry()
    nodes.link('a', 'b')
    await nodes.carry()
    expect([stale.displaced, later.displaced]).toEqual([1, 0])
  })

  it('a client that went away without having got a mail that was sent to it gets it, with the last event id that it has', async () => {
    const nodes = new Nodes('a', 'b', 'c')
    const first = listen(nodes, 'a')
    await nodes.carry()
    const has = first.has.at(-1)
    nodes.at('b').mailboxes.put(session, mail('1'))
    await nodes.carry()
    expect(textsOf(first)).toEqual(['1'])
    const second = listen(nodes, 'c', has)
    await nodes.carry()
    expect(textsOf(second)).toEqual(['1'])
  })

  it('that came to a stream whose link broke is kept until the client is known to have it', async () => {
    const nodes = new Nodes('a', 'b')
    nodes.at('b').mailboxes.put(session, mail('1'))
    const first = listen(nodes, 'a')
    await nodes.carry()
    const has = first.has[1]
    nodes.unlink('a', 'b')
    nodes.link('a', 'b')
    await nodes.carry()
    first.stop()
    const second = listen(nodes, 'a', has)
    await nodes.carry()
    expect([textsOf(first), textsOf(second)]).toEqual([['1'], ['1']])
  })

  type Step =
    | { kind: 'put'; at: number }
    | { kind: 'move'; to: number; lost: number }
    | { kind: 'carry' }
    | { kind: 'flap'; a: number; b: number }
  const which = fc.nat(2)
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('put' as const), at: which }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('move' as const), to: which, lost: fc.nat(3) }) },
    { weight: 2, arbitrary: fc.constant({ kind: 'carry' as const }) },
    fc.record({ kind: fc.constant('flap' as const), a: which, b: which }),
  )

  it('a client that comes and goes between nodes hears every mail of each node once, in order', async () => {
    const ids = ['a', 'b', 'c']
    const id = (at: number): string => ids[at] ?? 'a'
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const nodes = new Nodes(...ids)
        const has = new Map(ids.map((each) => [each, [] as string[]]))
        let sent = 0
        let stream = listen(nodes, 'a')
        // The client has what it was told, but for what got lost on its way; its last event id says up to where.
        const move = (to: string, lost: number): void => {
          // It has the first event at least: who has none begins anew.
          const got = Math.max(1, stream.heard.length - lost)
          for (const { node, text } of stream.heard.slice(0, got)) if (text !== '') has.get(node)?.push(text)
          stream.stop()
          stream = listen(nodes, to, stream.has[got])
        }
        for (const each of steps) {
          if (each.kind === 'put') {
            sent += 1
            nodes.at(id(each.at)).mailboxes.put(session, mail(`${id(each.at)} ${sent}`))
          }
          if (each.kind === 'move') {
            // Of a stream that was told nothing yet the client has no event id that says more than the one before.
            await nodes.carry()
            move(id(each.to), each.lost)
          }
          if (each.kind === 'carry') await nodes.carry()
          if (each.kind === 'flap' && each.a !== each.b) {
            nodes.unlink(id(each.a), id(each.b))
            nodes.link(id(each.a), id(each.b))
          }
        }
        await nodes.carry()
        move('b', 0)
        await nodes.carry()
        move('b', 0)
        for (const each of ids) {
          const texts = has.get(each) ?? []
          expect(texts).toEqual([...new Set(texts)].toSorted((x, y) => Number(x.slice(2)) - Number(y.slice(2))))
        }
        expect([...has.values()].flat().length).toBe(sent)
      }),
      { numRuns: 500 },
    )
  })
})
