import * as fc from 'fast-check'
import { Packr } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { decodeCommand, encodeCommand } from '../../src/state/command-codec.ts'
import type { Envelope } from '../../src/state/command.ts'
import { decodeSnapshot, encodeSnapshot } from '../../src/state/snapshot.ts'
import type { StateImage } from '../../src/state/snapshot.ts'
import { ClusterState } from '../../src/state/state.ts'
import { Random } from '../../src/std/random.ts'
import { mutate } from '../wire/mutate.ts'
import { anyEnvelope, anyLog, sessionIdOf } from './arbitrary.ts'

// What may stand in a log or a snapshot, and more: it is read, or called malformed in a sentence, alike on every node.
// `FUZZ_SEED` and `FUZZ_ROUNDS` look further than the suite does.
const seed = Number(process.env['FUZZ_SEED'] ?? 1)
const rounds = Number(process.env['FUZZ_ROUNDS'] ?? 20_000)

const packr = new Packr({ useRecords: false, moreTypes: false })
const samples = fc.sample(anyEnvelope, { seed, numRuns: 200 }).map((envelope) => encodeCommand(envelope))
const snapshots = fc.sample(anyLog(40), { seed, numRuns: 40 }).map((log) => bytesOf(stateOf(log).capture()))

function stateOf(log: readonly { envelope: Envelope | null; laterMs: number }[]): ClusterState {
  const state = new ClusterState()
  let time = 0
  log.forEach(({ envelope, laterMs }, at) => {
    time += laterMs
    state.apply({ index: at + 1, time, command: envelope })
  })
  return state
}

function bytesOf(image: StateImage): Uint8Array {
  return new Uint8Array(Buffer.concat([...encodeSnapshot(image)]))
}

function pick<T>(random: Random, from: readonly T[]): T {
  const picked = from[random.below(from.length)]
  if (picked === undefined) throw new Error('nothing to pick from')
  return picked
}

function expectSentence(found: { malformed: string }, bytes: Uint8Array): void {
  expect(found.malformed.length, shown(bytes)).toBeGreaterThan(5)
  expect(found.malformed.length, shown(bytes)).toBeLessThan(200)
}

function shown(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex').slice(0, 2000)
}

/** What it takes while it is read, whatever is given back at once afterwards. */
function heapTakenBy(run: () => void): number {
  const before = process.memoryUsage().heapUsed
  run()
  return process.memoryUsage().heapUsed - before
}

describe('commands out of bytes that nobody wrote', () => {
  it('are read as what they are when they are written again, and make the same state from the log and from a snapshot', () => {
    const random = new Random(seed)
    let read = 0
    let state = new ClusterState()
    for (let round = 0; round < rounds; round += 1) {
      const bytes = mutate(random, pick(random, samples), pick(random, samples))
      const found = decodeCommand(bytes)
      if ('malformed' in found) expectSentence(found, bytes)
      else {
        read += 1
        expectSameAgain(found, bytes)
      }
      state.apply({ index: state.appliedIndex + 1, time: round, command: found })
      if (round % 200 !== 199) continue
      const image = decodeSnapshot(bytesOf(state.capture()))
      if ('malformed' in image) throw new Error(image.malformed)
      const restored = new ClusterState()
      restored.restore(image)
      expect(restored.digest()).toBe(state.digest())
      state = restored
    }
    expect(read / rounds).toBeGreaterThan(0.02)
    expect(read / rounds).toBeLessThan(0.9)
  })

  it('of any kind are called malformed, and what is read afterwards is not touched by them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), anyEnvelope, (bytes, envelope) => {
        const found = decodeCommand(bytes)
        if ('malformed' in found) expectSentence(found, bytes)
        expect(decodeCommand(encodeCommand(envelope))).toEqual(envelope)
      }),
      { numRuns: 2000, seed },
    )
  })

  it('that are cut or lengthened are malformed', () => {
    for (const bytes of samples) {
      for (let length = 0; length < bytes.length; length += 1) {
        expect(decodeCommand(bytes.subarray(0, length)), shown(bytes)).toHaveProperty('malformed')
      }
      expect(decodeCommand(new Uint8Array([...bytes, 0xc0])), shown(bytes)).toHaveProperty('malformed')
    }
  })

  it.each([0, 1, 3, 2 ** 32, -1, '2', null, [2]])('of the format %j are refused, and say so', (format) => {
    const found = decodeCommand(packr.pack([format, null, 2, 'key', null]))
    expect(found).toEqual({ malformed: expect.stringMatching(/^format .* is not known, only 2$/) })
  })
})

describe('snapshots out of bytes that nobody wrote', () => {
  it('are made a state that goes on alike, or called malformed', () => {
    const random = new Random(seed)
    for (let round = 0; round < rounds / 4; round += 1) {
      const bytes = mutate(random, pick(random, snapshots), pick(random, snapshots))
      const image = decodeSnapshot(bytes)
      if ('malformed' in image) expectSentence(image, bytes)
      else expectWhole(image, bytes)
    }
  })

  it('hold what they may hold, each once, in blocks of whatever values', () => {
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 3 },
        fc.constantFrom(0, 1, 4096, 8192, -1, 1.5, null, true, '', 'n1', 'a', '0123456789abcdef', 'x'.repeat(300)),
        fc.array(tie('any'), { maxLength: 5 }),
      ),
    })).any
    const kv = fc.tuple(fc.constantFrom('a', 'b'), fc.constantFrom('1', '2'), fc.nat({ max: 9 }))
    const answer = fc.tuple(fc.constantFrom('k', 'l'), fc.constant('f'), fc.nat(), fc.nat({ max: 4 }), fc.nat())
    const check = fc.tuple(fc.constantFrom(0, 4096, 8192), fc.constantFrom('n1', 'n2'), fc.constant('0123456789abcdef'))
    const token = fc.tuple(
      fc.constantFrom('0'.repeat(16), 'f'.repeat(16)),
      fc.constant(5),
      fc.constantFrom(1005, 9999),
      fc.nat({ max: 2 }),
      fc.constantFrom([], ['n1'], ['n1', 'n2'], ['n1', 'n1']),
      fc.nat({ max: 2 }),
      fc.constant('note'),
    )
    const drain = fc.tuple(fc.constantFrom('n1', 'n2'), fc.nat({ max: 2 }))
    const session = fc.tuple(
      fc.constantFrom(sessionIdOf(1), sessionIdOf(2)),
      fc.constant('/mcp'),
      fc.nat({ max: 2 }),
      fc.constant('v'),
      fc.constantFrom('{}', ''),
      fc.constant('{}'),
      fc.constantFrom(999, 1000),
      fc.nat(),
      fc.nat(),
      fc.constantFrom(null, 0, 8),
      fc.constantFrom([], ['a', 'a:'], ['a', 'a:', 'a', 'a:'], ['a']),
      fc.constantFrom([], ['a', 'n1'], ['a', 'n1', 'a', 'n2'], ['a']),
    )
    const blocks = fc.array(
      fc.tuple(
        fc.nat({ max: 9 }),
        fc.array(fc.oneof(value, kv, answer, session, check, token, drain), { maxLength: 3 }),
      ),
      { maxLength: 4 },
    )
    const sums = fc.constantFrom<[number, number]>([0, 0], [1, 2])
    fc.assert(
      fc.property(blocks, fc.array(fc.nat({ max: 3 }), { maxLength: 8 }), sums, (parts, counts, sum) => {
        const bytes = blocksOf([
          [0, 4, 9, 9],
          ...parts.map(([section, records]) => [section, ...records]),
          [5, ...counts, ...sum],
        ])
        const image = decodeSnapshot(bytes)
        if ('malformed' in image) expectSentence(image, bytes)
        else expectWhole(image, bytes)
      }),
      { numRuns: 3000, seed },
    )
  })

  it.each<[string, readonly unknown[][], readonly number[]]>([
    [
      'a key',
      [
        [1, ['a', '1', 1]],
        [1, ['a', '1', 1]],
      ],
      [2, 0, 0, 0, 0, 0, 0, 0],
    ],
    ['an idempotency key', [[4, ['k', 'f', 1, 2], ['k', 'f', 1, 2]]], [0, 0, 0, 2, 0, 0, 0, 0]],
    [
      'an index of reports',
      [[6, [4096, 'n1', '0123456789abcdef'], [4096, 'n2', '0123456789abcdef']]],
      [0, 0, 0, 0, 0, 0, 0, 2],
    ],
    [
      'a join token',
      [[7, ['0'.repeat(16), 0, 1000, 1, [], 0, ''], ['0'.repeat(16), 0, 1000, 1, [], 1, '']]],
      [0, 0, 0, 0, 2, 0, 0, 0],
    ],
    ['a use of a join token', [[7, ['0'.repeat(16), 0, 1000, 2, ['n1', 'n1'], 0, '']]], [0, 0, 0, 0, 1, 0, 0, 0]],
    ['a drain', [[8, ['n1', 0], ['n1', 1]]], [0, 0, 0, 0, 0, 2, 0, 0]],
    ['a session', [[9, opened([], []), opened([], [])]], [0, 0, 0, 0, 0, 0, 2, 0]],
    ['a subscription', [[9, opened(['a', 'a:', 'a', 'a:'], [])]], [0, 0, 0, 0, 0, 0, 1, 0]],
    ['a pin', [[9, opened([], ['a', 'n1', 'a', 'n2'])]], [0, 0, 0, 0, 0, 0, 1, 0]],
    ['a report of a node', [[6, [4096, 'n1', '0123456789abcdef', 'n1', '0123456789abcdef']]], [0, 0, 0, 0, 0, 0, 0, 1]],
  ])('are refused with %s twice', (_, blocks, counts) => {
    const found = decodeSnapshot(blocksOf([[0, 4, 9, 9], ...blocks, [5, ...counts, 0, 0]]))
    expect(found).toEqual({ malformed: expect.stringContaining('a record before byte') })
  })

  it('are refused with any record other than that of which they have the sum', () => {
    const state = stateOf([])
    const command = { kind: 'kv-set', key: 'a', value: '1' as never, expect: null } as const
    state.apply({ index: 1, time: 1, command: { command, idempotencyKey: null } })
    const image = state.capture()
    const { low, high } = image.sum
    const make = (record: unknown): unknown =>
      decodeSnapshot(
        blocksOf([
          [0, 4, 1, 1],
          [1, record],
          [5, 1, 0, 0, 0, 0, 0, 0, 0, low, high],
        ]),
      )
    expect(make(['a', '1', 1])).toMatchObject({ appliedIndex: 1 })
    for (const record of [
      ['a', '2', 1],
      ['b', '1', 1],
      ['a', '1', 2],
    ]) {
      expect(make(record)).toEqual({ malformed: expect.stringContaining('of which it has the sum') })
    }
  })
})

describe('lengths that are only stated', () => {
  const array30M = [0xdd, 0x01, 0xc9, 0xc3, 0x80]
  it.each<[string, readonly number[]]>([
    ['an array of 30 million values', array30M],
    ['an array of 4 billion values', [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ['arrays in arrays', Array.from({ length: 60 }, () => array30M).flat()],
    ['a text of 4 gigabytes', [0x91, 0xdb, 0xff, 0xff, 0xff, 0xff]],
    ['a map', [0x91, 0xdf, 0x01, 0xc9, 0xc3, 0x80]],
    ['arrays as deep as they come', Array.from({ length: 100_000 }, () => 0x91)],
    ['a hundred thousand empty arrays', [0xdd, 0x00, 0x01, 0x86, 0xa0, ...Array.from({ length: 100_000 }, () => 0x90)]],
  ])('take no memory: %s', (_, content) => {
    const bytes = Uint8Array.from(content)
    const prefix = Buffer.alloc(4)
    prefix.writeUInt32BE(bytes.length)
    const block = new Uint8Array(Buffer.concat([prefix, bytes]))
    const stated = Uint8Array.from([0xff, 0xff, 0xff, 0xff, ...bytes])
    for (const read of [() => decodeCommand(bytes), () => decodeSnapshot(block), () => decodeSnapshot(stated)]) {
      let found: unknown
      expect(heapTakenBy(() => (found = read()))).toBeLessThan(16 * 1024 * 1024)
      expect(found).toHaveProperty('malformed')
    }
  })
})

/** Fields of a session's record. */
function opened(subscriptions: readonly string[], pins: readonly string[]): unknown[] {
  return [sessionIdOf(1), '/mcp', 0, 'v', '{}', '{}', 1000, 0, 0, null, subscriptions, pins]
}

function blocksOf(lists: readonly (readonly unknown[])[]): Uint8Array {
  const parts = lists.map((list) => {
    const packed = packr.pack(list)
    const prefix = Buffer.alloc(4)
    prefix.writeUInt32BE(packed.length)
    return Buffer.concat([prefix, packed])
  })
  return new Uint8Array(Buffer.concat(parts))
}

function expectSameAgain(envelope: Envelope, bytes: Uint8Array): void {
  const again = encodeCommand(envelope)
  expect(decodeCommand(again), shown(bytes)).toEqual(envelope)
  expect(encodeCommand(decodeCommand(again) as Envelope), shown(bytes)).toEqual(again)
}

/** It can be restored, is the same when it is written and read again, and takes commands. */
function expectWhole(image: StateImage, bytes: Uint8Array): void {
  const [state, again] = [new ClusterState(), new ClusterState()]
  state.restore(image)
  const copied = decodeSnapshot(bytesOf(image))
  if ('malformed' in copied) throw new Error(`${copied.malformed}: ${shown(bytes)}`)
  again.restore(copied)
  const index = image.appliedIndex + 1
  if (!Number.isSafeInteger(index)) return
  for (const each of [state, again]) each.apply({ index, time: image.time, command: null })
  expect(again.digest(), shown(bytes)).toBe(state.digest())
}
