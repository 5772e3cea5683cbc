import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Call, CallEvent, CallOrigin, Outcome } from '../../src/calls/call.ts'
import { KeptCalls } from '../../src/calls/kept-calls.ts'
import type { KeptCallsLimits } from '../../src/calls/kept-calls.ts'
import { silentLog } from '../../src/log/log.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { Signal } from '../../src/std/signal.ts'
import type { CallId, NodeId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { ManualClock } from '../consensus/manual-clock.ts'

const session = 's1' as SessionId
const origin: CallOrigin = { session, requestId: asJsonText('1'), isKept: false }
const done: Outcome = { kind: 'result', result: asJsonText('{"ok":true}') }
const rejected: Outcome = { kind: 'rejected', error: new OperatingError('overloaded', 'no') }
const resumeMs = 60_000
const keptMs = 300_000

type Work = {
  readonly hear: (message: string) => void
  readonly end: (outcome: Outcome) => void
  cancelled: Signal
}

/** A node whose upstreams do what the test says, by call id. */
function node(limits: Partial<KeptCallsLimits> = {}) {
  const clock = new ManualClock()
  const works = new Map<string, Work>()
  const unattended = { now: 0 }
  const kept = new KeptCalls({
    node: 'n1' as NodeId,
    upstreams: {
      call: (call, hear, cancelled) =>
        new Promise((end) => {
          works.set(call.id, { hear: (text) => hear(asJsonText(text)), end, cancelled })
          cancelled.addEventListener('abort', () => end({ kind: 'cancelled' }))
        }),
    },
    clock,
    log: silentLog,
    unattended: { begin: () => (unattended.now += 1), end: () => (unattended.now -= 1) },
    limits,
  })
  const work = (id = 'c1'): Work => {
    const found = works.get(id)
    if (found === undefined) throw new Error(`call ${id} was never performed`)
    return found
  }
  const start = (overrides: Partial<Call> = {}): Client => {
    const id = (overrides.id ?? 'c1') as CallId
    const call = { id, server: 'files' as ServerName, method: 'tools/call', params: asJsonText('{}'), timeoutMs: null }
    return new Client((client) => kept.call({ ...call, origin, ...overrides }, client))
  }
  const resume = (after: number, overrides: { id?: string; session?: string } = {}): Client => {
    const ref = { id: (overrides.id ?? 'c1') as CallId, session: (overrides.session ?? session) as SessionId, after }
    return new Client((client) => kept.resume(ref, client))
  }
  return { kept, clock, works, work, start, resume, unattended }
}

/** Whoever waits: what it heard, and how it ended; null: it waits still. */
class Client {
  readonly heard: CallEvent[] = []
  readonly #cancelled = new AbortController()
  readonly #left = new AbortController()
  readonly cancelled = this.#cancelled.signal
  readonly left = this.#left.signal
  readonly ended: Promise<Outcome>
  outcome: Outcome | null = null

  constructor(begin: (client: Client) => Promise<Outcome>) {
    this.ended = begin(this).then((outcome) => (this.outcome = outcome))
  }

  hear(event: CallEvent): void {
    if (this.outcome !== null) throw new Error('nothing is heard after the outcome')
    this.heard.push(event)
  }

  leave(): void {
    this.#left.abort()
  }

  cancel(): void {
    this.#cancelled.abort()
  }

  get texts(): string[] {
    return this.heard.map(({ seq, message }) => `${seq} ${message}`)
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('a call with an origin', () => {
  it('tells its events in order, numbered from 1, before its outcome', async () => {
    const { start, work } = node()
    const client = start()
    work().hear('"a"')
    work().hear('"b"')
    work().end(done)
    expect(await client.ended).toBe(done)
    expect(client.texts).toEqual(['1 "a"', '2 "b"'])
    work().hear('"late"')
    expect(client.texts.length).toBe(2)
  })

  it('without events that ends soon leaves nothing behind, and no timer', async () => {
    const { kept, clock, start, work, resume } = node()
    const client = start()
    work().end(done)
    await client.ended
    expect(kept.counters).toMatchObject({ inWork: 0, ended: 0, bytes: 0, unattended: 0 })
    expect(clock.timers).toBe(0)
    expect(await resume(0).ended).toMatchObject({ kind: 'unknown', error: { code: 'outcome-unknown' } })
  })

  it.each<[string, Partial<CallOrigin>, (given: ReturnType<typeof node>) => void]>([
    ['that is to be kept', { isKept: true }, () => undefined],
    ['with an event', {}, ({ work }) => work().hear('"a"')],
    ['that took a second', {}, ({ clock }) => clock.advance(1000)],
  ])('%s is kept with its outcome for five minutes', async (_, given, during) => {
    const at = node()
    const client = at.start({ origin: { ...origin, ...given } })
    during(at)
    at.work().end(done)
    await client.ended
    at.clock.advance(keptMs - 1)
    expect(await at.resume(0).ended).toBe(done)
    at.clock.advance(keptMs - 1)
    expect(await at.resume(0).ended).toBe(done)
    at.clock.advance(keptMs + 1000)
    expect(await at.resume(0).ended).toMatchObject({ kind: 'unknown' })
    expect(at.kept.counters).toMatchObject({ ended: 0, bytes: 0 })
    expect(at.clock.timers).toBe(0)
  })

  it('that did no work is not kept while its caller goes elsewhere with it', async () => {
    const { start, work, resume } = node()
    const client = start({ origin: { ...origin, isKept: true } })
    work().end(rejected)
    expect(await client.ended).toBe(rejected)
    expect((await resume(0).ended).kind).toBe('unknown')
  })

  it('goes on without its caller, and tells who resumes it what that one has missed, and then what comes', async () => {
    const { start, work, resume, unattended, kept } = node()
    const first = start()
    work().hear('"a"')
    work().hear('"b"')
    first.leave()
    expect(await first.ended).toEqual({ kind: 'left' })
    expect([work().cancelled.aborted, unattended.now]).toEqual([false, 1])
    work().hear('"c"')
    const second = resume(1)
    expect(unattended.now).toBe(0)
    work().hear('"d"')
    work().end(done)
    expect(await second.ended).toBe(done)
    expect(second.texts).toEqual(['2 "b"', '3 "c"', '4 "d"'])
    expect(first.texts).toEqual(['1 "a"', '2 "b"'])
    expect(kept.counters).toMatchObject({ resumed: 1, givenUp: 0, eventsLost: 0 })
  })

  it('that ended meanwhile tells what was missed and its outcome, as often as it is asked', async () => {
    const { start, work, resume } = node()
    const first = start()
    first.leave()
    work().hear('"a"')
    work().end(done)
    await settled()
    for (const after of [0, 0, 1]) {
      const next = resume(after)
      expect(await next.ended).toBe(done)
      expect(next.texts).toEqual(after === 0 ? ['1 "a"'] : [])
    }
  })

  it('is taken over from a caller that has not noticed that it is gone: that one learns so, and hears no more', async () => {
    const { start, work, resume } = node()
    const first = start()
    work().hear('"a"')
    const second = resume(1)
    expect(await first.ended).toEqual({ kind: 'left' })
    work().hear('"b"')
    expect([first.texts, second.texts]).toEqual([['1 "a"'], ['2 "b"']])
    first.cancel()
    expect(work().cancelled.aborted).toBe(false)
    second.cancel()
    expect(await second.ended).toEqual({ kind: 'cancelled' })
    expect(work().cancelled.aborted).toBe(true)
  })

  it('is not given to another session', async () => {
    const { start, resume, work } = node()
    const client = start()
    work().hear('"a"')
    expect((await resume(0, { session: 's2' }).ended).kind).toBe('unknown')
    expect(client.outcome).toBe(null)
  })

  it('is cancelled upstream when nobody comes back for it in a minute, and known no more', async () => {
    const { start, work, clock, resume, kept, unattended } = node()
    const client = start()
    work().hear('"a"')
    client.leave()
    clock.advance(resumeMs - 1)
    const back = resume(1)
    clock.advance(resumeMs)
    expect(work().cancelled.aborted).toBe(false)
    back.leave()
    clock.advance(resumeMs)
    expect(work().cancelled.aborted).toBe(true)
    await settled()
    expect((await resume(1).ended).kind).toBe('unknown')
    expect(kept.counters).toMatchObject({ givenUp: 1, inWork: 0, unattended: 0, bytes: 0 })
    expect(unattended.now).toBe(0)
  })

  it('without an origin is performed and its events are numbered, and nothing of it is kept', async () => {
    const { start, work, kept, resume } = node()
    const client = start({ origin: null })
    expect(kept.counters.inWork).toBe(0)
    work().hear('"a"')
    work().hear('"b"')
    client.leave()
    work().end(done)
    expect(await client.ended).toBe(done)
    expect(client.texts).toEqual(['1 "a"', '2 "b"'])
    expect((await resume(0).ended).kind).toBe('unknown')
  })

  it('that fails by accident is its caller’s to report', async () => {
    const clock = new ManualClock()
    const upstreams = { call: () => Promise.reject(new Error('by accident')) }
    const kept = new KeptCalls({ node: 'n1' as NodeId, upstreams, clock, log: silentLog })
    const call = { id: 'c1' as CallId, server: 'files' as ServerName, method: 'x', params: asJsonText('{}') }
    const caller = { hear: () => undefined, cancelled: new AbortController().signal, left: null }
    await expect(kept.call({ ...call, timeoutMs: null, origin }, caller)).rejects.toThrowError('by accident')
    expect(kept.counters.inWork).toBe(0)
  })
})

describe('a cancellation by request id', () => {
  it('ends the calls of that session with that id, and no other', async () => {
    const { kept, start, work } = node()
    const request = (id: string, given: Partial<CallOrigin>): Client =>
      start({ id: id as CallId, origin: { ...origin, ...given } })
    const meant = request('c1', {})
    request('c2', { requestId: asJsonText('"1"') })
    request('c3', { session: 's2' as SessionId })
    kept.cancelRequest(session, asJsonText('1'), asJsonText('{}'))
    expect(await meant.ended).toEqual({ kind: 'cancelled' })
    expect(['c1', 'c2', 'c3'].map((id) => work(id).cancelled.aborted)).toEqual([true, false, false])
  })
})

describe('the end of a session', () => {
  it('cancels its calls and forgets what is kept of it', async () => {
    const { kept, start, work, resume } = node()
    const running = start()
    const ended = start({ id: 'c2' as CallId })
    work('c2').hear('"a"')
    work('c2').end(done)
    await ended.ended
    const other = start({ id: 'c3' as CallId, origin: { ...origin, session: 's2' as SessionId } })
    kept.sessionsEnded([session])
    expect(await running.ended).toEqual({ kind: 'cancelled' })
    expect((await resume(0, { id: 'c2' }).ended).kind).toBe('unknown')
    expect(other.outcome).toBe(null)
    expect(kept.counters).toMatchObject({ inWork: 1, ended: 0, bytes: 0 })
  })
})

describe('what is kept is bounded', () => {
  const endAll = async (at: ReturnType<typeof node>, ids: readonly string[], text: string): Promise<void> => {
    for (const id of ids) {
      const client = at.start({ id: id as CallId })
      at.work(id).hear(text)
      at.work(id).end(done)
      await client.ended
    }
  }

  it('in number: the one that was used least recently is forgotten', async () => {
    const at = node({ endedMax: 2 })
    await endAll(at, ['c1', 'c2'], '"a"')
    await at.resume(0, { id: 'c1' }).ended
    await endAll(at, ['c3'], '"a"')
    const kinds = await Promise.all(['c1', 'c2', 'c3'].map(async (id) => (await at.resume(0, { id }).ended).kind))
    expect(kinds).toEqual(['result', 'unknown', 'result'])
  })

  it('in bytes: ended calls go first, then the oldest events of the call that grows', async () => {
    const at = node({ bytesMax: 10_000, callBytesMax: 100_000 })
    await endAll(at, ['c1', 'c2'], `"${'x'.repeat(3000)}"`)
    at.start({ id: 'c3' as CallId }).leave()
    for (let n = 0; n < 6; n += 1) at.work('c3').hear(`"${'y'.repeat(3000)}"`)
    expect(at.kept.counters.ended).toBe(0)
    expect(at.kept.counters.bytes).toBeLessThanOrEqual(10_000)
    const back = at.resume(0, { id: 'c3' })
    expect(back.heard.map(({ seq }) => seq)).toEqual([4, 5, 6])
    expect(at.kept.counters.eventsLost).toBe(3)
    at.work('c3').end(done)
    expect(await back.ended).toBe(done)
  })

  it('in bytes of one call, while its caller still hears all', () => {
    const at = node({ callBytesMax: 1000 })
    const client = at.start()
    for (let n = 0; n < 100; n += 1) at.work().hear(`"${'x'.repeat(98)}"`)
    expect(client.heard.length).toBe(100)
    expect(at.kept.counters.bytes).toBeLessThanOrEqual(1000)
    const back = at.resume(100 - 5)
    expect(back.heard.map(({ seq }) => seq)).toEqual([96, 97, 98, 99, 100])
    expect(at.kept.counters.eventsLost).toBe(0)
  })

  it('and nothing of it is left after the stop', async () => {
    const at = node()
    await endAll(at, ['c1'], '"a"')
    at.start({ id: 'c2' as CallId }).leave()
    at.kept.stop()
    expect(at.work('c2').cancelled.aborted).toBe(true)
    expect(at.kept.counters).toMatchObject({ ended: 0, bytes: 0, unattended: 0 })
    expect(at.clock.timers).toBe(0)
  })
})

describe('whatever happens between a server and a client that comes and goes', () => {
  type Step = { kind: 'event' } | { kind: 'leave' } | { kind: 'resume'; lost: number } | { kind: 'pass'; ms: number }
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 4, arbitrary: fc.constant({ kind: 'event' as const }) },
    fc.constant({ kind: 'leave' as const }),
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('resume' as const), lost: fc.nat(3) }) },
    fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(10_000) }),
  )

  it('the client hears every event once, in order, and then the outcome', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.nat(40), fc.boolean(), async (steps, endAt, isKept) => {
        const { start, resume, work, clock, kept } = node()
        const first = start({ origin: { ...origin, isKept } })
        let client = first
        // What the client has: of what the node said to it, the last few may have been lost on their way.
        let has: number[] = []
        let sent = 0
        const receive = (lost: number): void => {
          const upTo = Math.max(0, client.heard.length - lost)
          has = [...has, ...client.heard.slice(0, upTo).map(({ seq }) => seq)]
        }
        const say = (each: Step): void => {
          if (each.kind === 'event') work().hear(`${(sent += 1)}`)
          if (each.kind === 'leave') client.leave()
          if (each.kind === 'pass' && steps.length * each.ms < resumeMs) clock.advance(each.ms)
          if (each.kind !== 'resume') return
          receive(each.lost)
          client = resume(has.at(-1) ?? 0)
        }
        const end = Math.min(endAt, steps.length)
        for (const each of steps.slice(0, end)) say(each)
        // A client comes back only for what has given it an id.
        if (sent === 0 && !isKept) work().hear(`${(sent += 1)}`)
        work().end(done)
        await settled()
        for (const each of steps.slice(end)) if (each.kind === 'leave' || each.kind === 'resume') say(each)
        receive(0)
        client = resume(has.at(-1) ?? 0)
        expect(await client.ended).toBe(done)
        receive(0)
        expect(has).toEqual(Array.from({ length: sent }, (_, at) => at + 1))
        expect(kept.counters).toMatchObject({ inWork: 0, unattended: 0 })
      }),
      { numRuns: 300 },
    )
  })
})
