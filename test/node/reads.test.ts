import { describe, expect, it } from 'vitest'
import { Reads } from '../../src/node/reads.ts'
import { realClock } from '../../src/std/clock.ts'
import type { Clock } from '../../src/std/clock.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'

/** Timers that fire when the test says so, in the order in which they are due. */
class HandClock implements Clock {
  #now = 0
  #timers: { at: number; fire: () => void }[] = []

  now(): number {
    return this.#now
  }

  monotonic(): number {
    return this.#now
  }

  after(ms: number, fire: () => void): { cancel: () => void } {
    const timer = { at: this.#now + ms, fire }
    this.#timers.push(timer)
    return { cancel: () => void (this.#timers = this.#timers.filter((other) => other !== timer)) }
  }

  pass(ms: number): void {
    this.#now += ms
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= this.#now).sort((a, b) => a.at - b.at)[0]
      if (due === undefined) return
      this.#timers = this.#timers.filter((other) => other !== due)
      due.fire()
    }
  }

  get timers(): number {
    return this.#timers.length
  }
}

function makeReads(clock: Clock = realClock): { reads: Reads; asked: number[]; state: { applied: number } } {
  const asked: number[] = []
  const state = { applied: 0 }
  const reads = new Reads({ ask: (id) => asked.push(id), appliedIndex: () => state.applied, clock })
  return { reads, asked, state }
}

function watched(promise: Promise<void>): { readonly end: () => string } {
  let end = 'open'
  promise.then(
    () => (end = 'read'),
    (error: unknown) => (end = error instanceof OperatingError ? error.code : String(error)),
  )
  return { end: () => end }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('a linearizable read', () => {
  it('waits for its read index, and then until the state has applied up to it', async () => {
    const { reads, asked, state } = makeReads()
    const read = watched(reads.read(5000))
    expect(asked).toEqual([1])
    reads.readable(1, 7)
    state.applied = 6
    reads.applied(6)
    await settle()
    expect(read.end()).toBe('open')
    reads.applied(7)
    await settle()
    expect(read.end()).toBe('read')
  })

  it('is over at once when the state is there already', async () => {
    const { reads, state } = makeReads()
    state.applied = 9
    const read = watched(reads.read(5000))
    reads.readable(1, 9)
    await settle()
    expect(read.end()).toBe('read')
  })

  it('that comes while a request is under way waits for the next one, and shares it', async () => {
    const { reads, asked, state } = makeReads()
    state.applied = 3
    const first = watched(reads.read(5000))
    const others = [watched(reads.read(5000)), watched(reads.read(5000))]
    expect(asked).toEqual([1])
    reads.readable(1, 3)
    await settle()
    expect([first, ...others].map((read) => read.end())).toEqual(['read', 'open', 'open'])
    expect(asked).toEqual([1, 2])
    reads.readable(2, 3)
    await settle()
    expect(others.map((read) => read.end())).toEqual(['read', 'read'])
    expect(reads.figures).toEqual({ reads: 3, readsFailed: 0, readRequests: 2 })
  })

  it('that nobody confirms is refused with no-leader, and those behind it ask anew', async () => {
    const { reads, asked } = makeReads()
    const first = watched(reads.read(5000))
    const second = watched(reads.read(5000))
    reads.refused(1)
    await settle()
    expect([first.end(), second.end()]).toEqual(['no-leader', 'open'])
    expect(asked).toEqual([1, 2])
    reads.refused(2)
    await settle()
    expect(second.end()).toBe('no-leader')
    expect(reads.figures.readsFailed).toBe(2)
  })

  it('asks again when an answer does not come, and takes no late one', async () => {
    const clock = new HandClock()
    const { reads, asked } = makeReads(clock)
    const read = watched(reads.read(5000))
    clock.pass(1000)
    expect(asked).toEqual([1, 2])
    reads.readable(1, 0)
    await settle()
    expect(read.end()).toBe('open')
    reads.readable(2, 0)
    await settle()
    expect(read.end()).toBe('read')
    expect(clock.timers).toBe(0)
  })

  it('ends with no-quorum when its time is over, and nobody asks for it any more', async () => {
    const clock = new HandClock()
    const { reads, asked } = makeReads(clock)
    const read = watched(reads.read(1500))
    clock.pass(1000)
    clock.pass(500)
    await settle()
    expect(read.end()).toBe('no-quorum')
    clock.pass(10_000)
    expect(asked).toEqual([1, 2])
    expect(clock.timers).toBe(0)
  })

  it('is refused early when too many wait, and all end when the node stops', async () => {
    const clock = new HandClock()
    const { reads } = makeReads(clock)
    const waiting = Array.from({ length: 16_384 }, () => watched(reads.read(5000)))
    const refused = watched(reads.read(5000))
    await settle()
    expect(refused.end()).toBe('overloaded')
    reads.stop(new OperatingError('stopped', 'this node is stopping'))
    await settle()
    expect(new Set(waiting.map((read) => read.end()))).toEqual(new Set(['stopped']))
    expect(clock.timers).toBe(0)
  })
})
