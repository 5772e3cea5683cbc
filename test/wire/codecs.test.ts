import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeConfiguration, makeConfiguration } from '../../src/raft/configuration.ts'
import type { Message } from '../../src/raft/messages.ts'
import type { ClusterId, NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { decodeCallMessage, encodeCallMessage } from '../../src/wire/call-codec.ts'
import { decodeFormingMessage, encodeFormingMessage } from '../../src/wire/forming-codec.ts'
import { decodeFrame, encodeFrame, frameHeaderBytes, nextSeq } from '../../src/wire/frame.ts'
import { frameTypes, isFormingFrame, isSnapshotFrame } from '../../src/wire/frame-types.ts'
import { decodeGossipMessage, encodeGossipMessage } from '../../src/wire/gossip-codec.ts'
import { decodeHandMessage, encodeHandMessage } from '../../src/wire/hand-codec.ts'
import type { HandMessage } from '../../src/wire/hand-codec.ts'
import { decodeHandshakeMessage } from '../../src/wire/handshake-codec.ts'
import { payloadBytesMax, raftLanes, snapshotBytesMax, snapshotChunkBytesMax } from '../../src/wire/limits.ts'
import { decodeMailMessage, encodeMailMessage } from '../../src/wire/mail-codec.ts'
import type { MailMessage } from '../../src/wire/mail-codec.ts'
import { pack, unpack } from '../../src/wire/pack.ts'
import { decodeMessage, encodeMessage } from '../../src/wire/raft-codec.ts'
import { decodeSnapshotMessage, encodeSnapshotMessage } from '../../src/wire/snapshot-codec.ts'
import type { SnapshotMessage } from '../../src/wire/snapshot-codec.ts'
import { decodeWord, encodeWord } from '../../src/wire/word-codec.ts'
import type { SaidWord } from '../../src/wire/word-codec.ts'
import {
  callMessage,
  damage,
  envelope,
  formingMessage,
  gossipMessage,
  handMessage,
  mailMessage,
  raftMessage,
  saidWord,
  snapshotMessage,
} from './arbitraries.ts'

const seqs = fc.nat(2 ** 32 - 1)

type Encoded = { type: number; payload: Uint8Array }
const families: Record<
  string,
  { any: fc.Arbitrary<unknown>; encode: (m: unknown) => Encoded; decode: (t: number, p: Uint8Array) => unknown }
> = {
  raft: {
    any: raftMessage,
    encode: (message) => encodeMessage(message as Message),
    decode: (type, payload) => decodeMessage(type, payload, envelope),
  },
  forming: {
    any: formingMessage,
    encode: (message) => encodeFormingMessage(message as never),
    decode: decodeFormingMessage,
  },
  snapshot: {
    any: snapshotMessage,
    encode: (message) => encodeSnapshotMessage(message as SnapshotMessage),
    decode: decodeSnapshotMessage,
  },
  call: {
    any: callMessage,
    encode: (message) => encodeCallMessage(message as never),
    decode: decodeCallMessage,
  },
  mail: {
    any: mailMessage,
    encode: (message) => encodeMailMessage(message as MailMessage),
    decode: decodeMailMessage,
  },
  word: {
    any: saidWord,
    encode: (message) => encodeWord(message as SaidWord),
    decode: decodeWord,
  },
  hand: {
    any: handMessage,
    encode: (message) => encodeHandMessage(message as HandMessage),
    decode: decodeHandMessage,
  },
  gossip: {
    any: gossipMessage,
    encode: (message) => encodeGossipMessage(message as never),
    decode: decodeGossipMessage,
  },
}

describe.each(Object.entries(families))('%s messages', (_, { any, encode, decode }) => {
  it('come back equal from their bytes', () => {
    fc.assert(
      fc.property(any, (message) => {
        const { type, payload } = encode(message)
        expect(plain(decode(type, payload))).toEqual(plain(message))
      }),
      { numRuns: 200 },
    )
  })

  it('are never read from a frame that was cut, lengthened or changed in one bit', () => {
    fc.assert(
      fc.property(any, seqs, damage, (message, seq, change) => {
        const damaged = change(encodeFrame({ ...encode(message), seq }))
        expect(decodeFrame(damaged)).toHaveProperty('malformed')
      }),
      { numRuns: 400 },
    )
  })

  it('are read or called malformed, never thrown at, when the payload itself is damaged', () => {
    fc.assert(
      fc.property(any, damage, (message, change) => {
        const { type, payload } = encode(message)
        expect(decode(type, change(payload))).toBeTypeOf('object')
      }),
      { numRuns: 600 },
    )
  })

  it('are not found in random bytes by throwing', () => {
    fc.assert(
      fc.property(fc.nat(255), fc.uint8Array({ maxLength: 200 }), (type, payload) => {
        expect(decode(type, payload)).toBeTypeOf('object')
        expect(decodeFrame(payload)).toBeTypeOf('object')
        expect(decodeHandshakeMessage(type, payload)).toBeTypeOf('object')
      }),
      { numRuns: 600 },
    )
  })

  it('may have more fields than this version knows', () => {
    fc.assert(
      fc.property(any, (message) => {
        const { type, payload } = encode(message)
        const fields = unpack(payload)
        if ('malformed' in fields) throw new Error(fields.malformed)
        // An outcome's own fields end with the frame, so that a tail stands behind the ones its kind knows.
        const longer = pack([...(fields as never[]), ...(type === frameTypes['call-end'] ? [] : ['new', 7])])
        expect(plain(decode(type, longer))).toEqual(plain(message))
      }),
    )
  })
})

describe('the frame', () => {
  it('of the bulk lane holds the largest chunk of a snapshot', () => {
    const bytes = new Uint8Array(snapshotChunkBytesMax)
    const { type, payload } = encodeSnapshotMessage({ kind: 'snapshot-chunk', transfer: 2 ** 53 - 1, offset: 7, bytes })
    expect(payload.length).toBeLessThan(payloadBytesMax(raftLanes.bulk))
    expect(decodeSnapshotMessage(type, payload)).toMatchObject({ offset: 7 })
  })

  it('wraps its sequence number around', () => {
    expect(nextSeq(0)).toBe(1)
    expect(nextSeq(2 ** 32 - 1)).toBe(0)
  })

  it('has a table of types in which no number has two meanings', () => {
    const numbers = Object.values(frameTypes)
    expect(new Set(numbers).size).toBe(numbers.length)
    expect(
      Object.entries(frameTypes)
        .filter(([, type]) => isFormingFrame(type))
        .map(([kind]) => kind),
    ).toEqual(['form-propose', 'form-promised', 'form-refused', 'formed'])
    const snapshots = Object.entries(frameTypes).filter(([, type]) => isSnapshotFrame(type))
    expect(snapshots.every(([kind]) => kind.startsWith('snapshot-')) && snapshots.length).toBe(5)
  })

  it('holds a mebibyte of entries and one entry of two mebibytes more', () => {
    const entry = (index: number, length: number) => ({
      index,
      term: 1,
      kind: 'command' as const,
      id: `n1.1.${index}` as ProposalId,
      time: 1_800_000_000_000,
      data: new Uint8Array(length),
    })
    const entries = [...Array.from({ length: 4096 }, (_, at) => entry(at + 1, 256)), entry(4097, 2 * 1024 * 1024)]
    const message: Message = {
      ...envelope,
      term: 1,
      kind: 'append-request',
      prevIndex: 0,
      prevTerm: 0,
      commit: 0,
      entries,
    }
    const { payload, type } = encodeMessage(message)
    expect(payload.length).toBeLessThan(payloadBytesMax(raftLanes.log))
    const decoded = decodeMessage(type, payload, envelope)
    if ('malformed' in decoded) throw new Error(decoded.malformed)
    expect(Buffer.compare(encodeMessage(decoded).payload, payload)).toBe(0)
  })
})

describe('a payload', () => {
  it.each([
    ['array 32', [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ['array 32 of 30 million', [0xdd, 0x01, 0xc9, 0xc3, 0x80, 0xc0]],
    ['array 16', [0xdc, 0xff, 0xff, 0xc0]],
    ['bytes 32', [0x91, 0xc6, 0x7f, 0xff, 0xff, 0xff]],
    ['string 32', [0x91, 0xdb, 0x7f, 0xff, 0xff, 0xff]],
    ['map 32', [0xdf, 0xff, 0xff, 0xff, 0xff]],
    ['extension 32', [0x91, 0xc9, 0xff, 0xff, 0xff, 0xff, 0x01]],
    ['a record definition', [0x91, 0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 0x01]],
    ['a 64-bit integer', [0x91, 0xcf, 0, 0, 0, 0, 0, 0, 0, 1]],
    ['no array', [0x01]],
    ['nothing', []],
    ['an array five levels deep', [0x91, 0x91, 0x91, 0x91, 0x91, 0xc0]],
    ['more bytes behind the array', [0x90, 0x90]],
  ])('of %s is malformed before anything is allocated', (_, bytes) => {
    const before = process.memoryUsage()
    expect(unpack(Uint8Array.from(bytes))).toHaveProperty('malformed')
    const after = process.memoryUsage()
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(4 * 1024 * 1024)
  })

  it('of more values than any message has is malformed', () => {
    const bytes = new Uint8Array(300_005).fill(0xc0)
    bytes.set([0xdd, 0x00, 0x04, 0x93, 0xe0])
    expect(unpack(bytes)).toEqual({ malformed: 'payload holds too many values' })
  })

  it('does not stay alive through the data of a decoded entry', () => {
    const message: Message = {
      ...envelope,
      term: 1,
      kind: 'propose',
      id: 'n1.1.1' as ProposalId,
      content: { kind: 'command', data: Uint8Array.of(1, 2, 3) },
    }
    const slab = Buffer.alloc(65_536)
    const { type, payload } = encodeMessage(message)
    slab.set(payload, 100)
    const decoded = decodeMessage(type, slab.subarray(100, 100 + payload.length), envelope)
    slab.fill(0xff)
    expect(decoded).toEqual(message)
    if ('malformed' in decoded || decoded.kind !== 'propose' || decoded.content.kind !== 'command')
      throw new Error('not decoded')
    expect(decoded.content.data.buffer.byteLength).toBe(3)
  })
})

describe('a raft message', () => {
  const append = (fields: unknown[]) => decodeMessage(frameTypes['append-request'], pack(fields as never), envelope)
  const data = new Uint8Array(1)

  it.each([
    ['a term that is no integer', [1.5, 0, 0, 0, []]],
    ['a negative index', [1, -1, 0, 0, []]],
    ['an index beyond the safe integers', [1, 2 ** 53, 0, 0, []]],
    ['entries beyond the safe integers', [1, 2 ** 53 - 1, 0, 0, [[1, 1, 'n1.1.1', 5, data]]]],
    ['a previous term above its own', [1, 1, 2, 0, []]],
    [
      'entries whose terms fall',
      [
        3,
        0,
        0,
        0,
        [
          [2, 1, 'a', 5, data],
          [1, 1, 'b', 5, data],
        ],
      ],
    ],
    ['an entry of an older term than the previous one', [3, 5, 2, 0, [[1, 1, 'a', 5, data]]]],
    ['an entry of a newer term than its own', [3, 0, 0, 0, [[4, 1, 'a', 5, data]]]],
    ['an entry of an unknown kind', [1, 0, 0, 0, [[1, 9, 'a', 5, data]]]],
    ['an entry whose data is text', [1, 0, 0, 0, [[1, 1, 'a', 5, 'text']]]],
    ['an entry without a time', [1, 0, 0, 0, [[1, 1, 'a', null, data]]]],
    ['an entry that is no array', [1, 0, 0, 0, [7]]],
    ['an id with a space', [1, 0, 0, 0, [[1, 1, 'a b', 5, data]]]],
    ['too few fields', [1, 0]],
  ])('with %s is malformed', (_, fields) => {
    expect(append(fields)).toHaveProperty('malformed')
  })

  it('of a leader that does not say what it counts the receiver for is malformed', () => {
    const heartbeat = (fields: number[]) => decodeMessage(frameTypes['heartbeat-request'], pack(fields), envelope)
    expect(heartbeat([3, 7, 1, 9])).toMatchObject({ match: 9 })
    expect(heartbeat([3, 7, 1])).toHaveProperty('malformed')
    expect(heartbeat([3, 7, 1, -9])).toHaveProperty('malformed')
  })

  it('of a node that does not speak of its disk is of one that has room', () => {
    const response = (fields: (number | boolean)[]) =>
      decodeMessage(frameTypes['heartbeat-response'], pack(fields), envelope)
    expect(response([3, 7])).toMatchObject({ read: 7, isDiskFull: false })
    expect(response([3, 7, true])).toMatchObject({ read: 7, isDiskFull: true })
    expect(response([3, 7, 1])).toHaveProperty('malformed')
  })

  it('is of the connection, whatever its payload says', () => {
    const { type, payload } = encodeMessage({
      ...envelope,
      from: 'liar' as NodeId,
      term: 4,
      kind: 'heartbeat-response',
      read: 9,
      isDiskFull: true,
    })
    expect(decodeMessage(type, payload, envelope)).toEqual({
      ...envelope,
      term: 4,
      kind: 'heartbeat-response',
      read: 9,
      isDiskFull: true,
    })
  })

  it.each([
    ['no content', ['n1.1.1']],
    ['text for data', ['n1.1.1', ['command', 'text']]],
    ['an unknown content', ['n1.1.1', ['demote', 'n2']]],
    ['a change of what is no node', ['n1.1.1', ['remove', 'n 2']]],
    ['a learner that may or may not be promoted', ['n1.1.1', ['add-learner', 'n2']]],
  ])('that proposes %s is malformed', (_, fields) => {
    expect(decodeMessage(frameTypes.propose, pack([1, ...fields]), envelope)).toHaveProperty('malformed')
  })

  it('that refuses for a reason of a newer version refuses all the same: the proposal entered no log', () => {
    const refused = (why: string | number) =>
      decodeMessage(frameTypes['propose-refused'], pack([1, 'n1.1.1', why]), envelope)
    for (const why of ['moon-phase', 'toString', '']) {
      expect(refused(why)).toMatchObject({ kind: 'propose-refused', id: 'n1.1.1', why: 'overloaded' })
    }
    expect(refused(7)).toHaveProperty('malformed')
  })
})

describe('a snapshot message', () => {
  const meta = [5, 2, 0, new TextEncoder().encode('{}')]
  const configuration = makeConfiguration('00000000-0000-4000-8000-000000000001' as ClusterId, ['n1' as NodeId])
  const goodMeta = [5, 2, 0, encodeConfiguration(configuration)]
  it('that is whole is taken', () => {
    const payload = pack([1, 3, goodMeta, 1])
    expect(decodeSnapshotMessage(frameTypes['snapshot-offer'], payload)).toMatchObject({ size: 1 })
  })

  const whole = [5, 2, 0, encodeConfiguration(makeConfiguration('c1' as ClusterId, [envelope.from]))]
  it.each<[string, keyof typeof frameTypes, unknown[]]>([
    ['an offer of a configuration that is none', 'snapshot-offer', [1, 3, meta, 100]],
    ['an offer larger than any snapshot', 'snapshot-offer', [1, 3, meta, snapshotBytesMax + 1]],
    ['an offer of nothing', 'snapshot-offer', [1, 3, goodMeta, 0]],
    ['an offer of nothing', 'snapshot-offer', [1, 3, whole, 0]],
    ['an offer without a snapshot', 'snapshot-offer', [1, 3, null, 100]],
    ['a chunk without bytes', 'snapshot-chunk', [1, 0, new Uint8Array(0)]],
    ['a chunk that is too large', 'snapshot-chunk', [1, 0, new Uint8Array(snapshotChunkBytesMax + 1)]],
    ['a chunk of text', 'snapshot-chunk', [1, 0, 'text']],
    ['an offset that is negative', 'snapshot-resume', [1, -1]],
    ['no transfer', 'snapshot-end', []],
    ['a refusal without a reason', 'snapshot-refuse', [1]],
  ])('with %s is malformed', (_, type, fields) => {
    expect(decodeSnapshotMessage(frameTypes[type], pack(fields as never))).toHaveProperty('malformed')
  })
})

describe('a forming proposal', () => {
  it.each([
    ['unsorted voters', ['n2', 'n1']],
    ['a voter twice', ['n1', 'n1']],
    ['no voters', []],
    ['a voter that is no id', ['n 1']],
  ])('with %s is malformed', (_, voters) => {
    const payload = pack(['0-0', voters])
    expect(decodeFormingMessage(frameTypes['form-propose'], payload)).toHaveProperty('malformed')
  })
})

it('a frame of each size has its header and nothing else around the payload', () => {
  const bytes = encodeFrame({ type: 3, seq: 9, payload: Uint8Array.of(1, 2) })
  expect(bytes.length).toBe(frameHeaderBytes + 2)
  expect(decodeFrame(bytes)).toMatchObject({ type: 3, seq: 9 })
})

/** Errors compare by their fields, so that details and codes count and stacks do not. */
function plain(value: unknown): unknown {
  if (value instanceof OperatingError) {
    const { code, message, retry, retryAfterMs, details } = value
    return { code, message, retry, retryAfterMs, details }
  }
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(plain)
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member)]))
}
