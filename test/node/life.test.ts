import { describe, expect, it } from 'vitest'
import { firstLife, lookAgainMs, nextLife } from '../../src/node/life.ts'
import type { Phase, Sight, Wish } from '../../src/node/life.ts'

// A drain that began at 100 000, within 20 s: nothing is taken from 115 000 on.
const sinceMs = 100_000
const limitMs = 20_000
const quiet: Sight = {
  nowMs: 100_500,
  wish: 'drain',
  inFlight: 0,
  lastEndMs: -Infinity,
  sessions: 0,
  hasToHandOver: false,
  mayStay: false,
}
const busy: Sight = { ...quiet, inFlight: 1 }

type Row = readonly [Phase, string, Sight, Phase]
const rows: readonly Row[] = [
  ['serving', 'nobody wants anything', { ...quiet, wish: null }, 'serving'],
  ['serving', 'it is to drain', quiet, 'draining'],
  ['serving', 'it is to leave', { ...quiet, wish: 'leave' }, 'draining'],
  ['serving', 'it is to stop', { ...quiet, wish: 'stop' }, 'draining'],

  ['draining', 'nothing is in flight, nor was lately', quiet, 'drained'],
  ['draining', 'a call is in flight', busy, 'draining'],
  ['draining', 'a call has ended 999 ms ago', { ...quiet, lastEndMs: 99_501 }, 'draining'],
  ['draining', 'a call has ended a second ago', { ...quiet, lastEndMs: 99_500 }, 'drained'],
  ['draining', 'a session has been there from the start', { ...quiet, sessions: 1 }, 'draining'],
  ['draining', 'a session did nothing for a second', { ...quiet, sessions: 1, nowMs: 101_000 }, 'drained'],
  ['draining', 'it leads', { ...quiet, nowMs: 103_000, hasToHandOver: true }, 'draining'],
  ['draining', 'it leads and is to leave', { ...quiet, wish: 'leave', hasToHandOver: true }, 'draining'],
  ['draining', 'it leads and stops, which hands over too', { ...quiet, wish: 'stop', hasToHandOver: true }, 'drained'],
  ['draining', 'three quarters of the time are not over', { ...busy, nowMs: 114_999 }, 'draining'],
  ['draining', 'three quarters of the time are over', { ...busy, nowMs: 115_000 }, 'closing'],
  ['draining', 'all the time is over', { ...busy, nowMs: 120_000, hasToHandOver: true }, 'drained'],
  ['draining', 'it is taken back', { ...busy, wish: null }, 'serving'],

  ['closing', 'a call is in flight', { ...busy, nowMs: 119_999 }, 'closing'],
  [
    'closing',
    'the last call has ended just now',
    { ...quiet, nowMs: 116_000, lastEndMs: 116_000, sessions: 9 },
    'drained',
  ],
  ['closing', 'it leads still', { ...quiet, nowMs: 116_000, hasToHandOver: true }, 'closing'],
  ['closing', 'the time is over', { ...busy, nowMs: 120_000 }, 'drained'],
  ['closing', 'it is taken back', { ...busy, nowMs: 116_000, wish: null }, 'serving'],

  ['drained', 'it is to stay', { ...busy, nowMs: 500_000 }, 'drained'],
  ['drained', 'it is to stop', { ...quiet, wish: 'stop' }, 'drained'],
  ['drained', 'it is to leave', { ...quiet, wish: 'leave' }, 'leaving'],
  ['drained', 'it is taken back', { ...quiet, wish: null }, 'serving'],

  ['leaving', 'it is taken back too late', { ...quiet, wish: null }, 'leaving'],
  ['leaving', 'it is taken back where it was refused', { ...quiet, wish: null, mayStay: true }, 'serving'],
  ['leaving', 'it is to drain only, and leaving was refused', { ...quiet, mayStay: true }, 'drained'],
  ['leaving', 'it is to drain only, too late', quiet, 'leaving'],
  ['leaving', 'it was refused', { ...quiet, wish: 'leave', mayStay: true }, 'leaving'],
  ['leaving', 'it was refused, and is to stop', { ...quiet, wish: 'stop', mayStay: true }, 'leaving'],
  ['leaving', 'it is to stop', { ...quiet, wish: 'stop' }, 'leaving'],
]

describe('the life of a node', () => {
  it.each(rows)('%s, when %s', (phase, _, sight, next) => {
    const life = { phase, sinceMs: phase === 'serving' ? 0 : sinceMs }
    expect(nextLife(life, sight, limitMs).phase).toBe(next)
  })

  it.each(rows.filter(([phase, , , next]) => phase === next))('%s is the same object, when %s', (phase, _, sight) => {
    const life = { phase, sinceMs }
    expect(nextLife(life, sight, limitMs)).toBe(life)
  })

  it('begins a drain at its own time, and keeps that until it ends', () => {
    const draining = nextLife(firstLife, busy, limitMs)
    expect(draining).toEqual({ phase: 'draining', sinceMs: busy.nowMs })
    expect(nextLife(draining, { ...busy, nowMs: busy.nowMs + 15_000 }, limitMs).sinceMs).toBe(busy.nowMs)
  })

  it.each<[Phase, Wish | null, Partial<Sight>, number | null]>([
    ['serving', null, {}, null],
    ['drained', 'drain', { inFlight: 1 }, null],
    ['leaving', 'leave', {}, null],
    ['draining', 'drain', { inFlight: 1 }, 14_500],
    ['draining', 'drain', { hasToHandOver: true }, 14_500],
    ['draining', 'drain', { lastEndMs: 100_100 }, 600],
    ['draining', 'drain', { sessions: 1 }, 500],
    ['closing', 'drain', { inFlight: 1, nowMs: 117_000 }, 3000],
    ['draining', 'drain', { inFlight: 1, nowMs: 300_000 }, 0],
  ])('%s wanting %s with %o is looked at again in %s ms', (phase, wish, more, expected) => {
    expect(lookAgainMs({ phase, sinceMs }, { ...quiet, wish, ...more }, limitMs)).toBe(expected)
  })
})
