import * as fc from 'fast-check'
import { Packr, pack } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { decodeCommand, encodeCommand } from '../../src/state/command-codec.ts'
import type { Command, Envelope } from '../../src/state/command.ts'
import { asJsonText, toJsonText } from '../../src/std/json-text.ts'
import type { NodeId, ServerName } from '../../src/vocabulary/ids.ts'
import { keyBytesMax, valueBytesMax } from '../../src/vocabulary/kv-limits.ts'
import { anyEnvelope, sessionIdOf } from './arbitrary.ts'

/** Fields of a session's opening, with what a row is about. */
function opening(given: Readonly<Record<string, unknown>>): unknown[] {
  const usual = { id: sessionIdOf(1), path: '/mcp', transport: 0, version: 'v', clientInfo: '{}', capabilities: '{}' }
  return Object.values({ ...usual, idleMs: 1000, ...given })
}

const bare = (command: Command): Envelope => ({ command, idempotencyKey: null })
const set = (key: string, value = '1'): Envelope =>
  bare({ kind: 'kv-set', key, value: asJsonText(value), expect: null })

describe('the codec of commands', () => {
  it('gives back every command as it was', () => {
    fc.assert(
      fc.property(anyEnvelope, (command) => {
        expect(decodeCommand(encodeCommand(command))).toEqual(command)
      }),
      {
        numRuns: 1000,
      },
    )
  })

  it('keeps a value byte for byte: space, escapes, big numbers, a byte order mark in a string, long text', () => {
    for (const value of [
      ' { "a" : 1.0e+2 }\n',
      '"\\u00e9é"',
      '123456789012345678901234567890',
      '"\uFEFF"',
      `"${'ж'.repeat(100_000)}"`,
    ]) {
      const command = set('\uFEFFkey', value)
      expect(decodeCommand(encodeCommand(command))).toEqual(command)
    }
  })

  it('writes the same bytes for the same labels, whatever their order', () => {
    const member = (labels: Record<string, string>): Envelope =>
      bare({
        kind: 'member-set',
        member: {
          node: 'n1' as NodeId,
          generation: 1,
          addresses: { http: 'h', peer: 'p', raft: 'r' },
          labels,
          version: '0',
          startedAt: 1,
        },
      })
    expect(encodeCommand(member({ a: '1', b: '2' }))).toEqual(encodeCommand(member({ b: '2', a: '1' })))
  })

  it('returns bytes that stay as they are while others are encoded', () => {
    const bytes = encodeCommand(set('a'))
    const before = Buffer.from(bytes)
    for (let more = 0; more < 10_000; more += 1) encodeCommand(set(`k${more}`))
    expect(before.equals(bytes)).toBe(true)
  })

  it('takes keys and values up to their limits in UTF-8, and no longer ones', () => {
    const longestKey = 'é'.repeat(keyBytesMax / 2)
    const longestValue = `"${'x'.repeat(valueBytesMax - 2)}"`
    expect(decodeCommand(encodeCommand(set(longestKey, longestValue)))).toMatchObject({ command: { kind: 'kv-set' } })
    expect(decodeCommand(encodeCommand(set(`${longestKey}x`)))).toHaveProperty('malformed')
    expect(decodeCommand(encodeCommand(set('a', `${longestValue} `)))).toHaveProperty('malformed')
    expect(decodeCommand(encodeCommand(set(longestKey.replaceAll('é', '€'))))).toHaveProperty('malformed')
  })

  it('finds a later format, a later kind and another number of fields malformed, and says so', () => {
    expect(decodeCommand(pack([1, 1, 'a', '1', null]))).toEqual({ malformed: 'format 1 is not known, only 2' })
    expect(decodeCommand(pack([2, null, 6]))).toEqual({
      malformed: 'kind 6 is not known, or its fields are not what it takes',
    })
    expect(decodeCommand(pack([2, null, 1, 'a', '1', null, 'more']))).toHaveProperty('malformed')
    expect(decodeCommand(pack([2, null, 7, 'n1', 1, null]))).toHaveProperty('malformed')
    expect(decodeCommand(pack([2, null, 8, 'n1', 4096, '0123456789abcdef', null]))).toHaveProperty('malformed')
    expect(decodeCommand(pack([]))).toHaveProperty('malformed')
    const minusZero = Uint8Array.from([0x95, 2, 0xc0, 2, 0xa1, 0x61, 0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0])
    expect(decodeCommand(minusZero)).toHaveProperty('malformed')
    expect(decodeCommand(minusZero.fill(0, 7, 8))).toEqual(bare({ kind: 'kv-delete', key: 'a', expect: 0 }))
    expect(decodeCommand(pack({ 0: 2, 1: null }))).toHaveProperty('malformed')
  })

  const tokenId = '0123456789abcdef'
  const offer = ['{}', '[]', '[]', '[]', '[]']
  it.each([
    ['an empty key', [2, null, 1, '', '1', null]],
    ['an empty value', [2, null, 1, 'a', '', null]],
    ['a value that is no text', [2, null, 1, 'a', 1, null]],
    ['a negative expectation', [2, null, 1, 'a', '1', -1]],
    ['a broken expectation', [2, null, 2, 'a', 1.5]],
    ['an expectation past the safe integers', [2, null, 2, 'a', 2 ** 53]],
    ['an illegal node id', [2, null, 3, 'n 1', 1, 'h', 'p', 'r', [], 'v', 1]],
    [
      'labels in the wrong order',
      [
        2,
        null,
        3,
        'n1',
        1,
        'h',
        'p',
        'r',
        [
          ['b', ''],
          ['a', ''],
        ],
        'v',
        1,
      ],
    ],
    [
      'a label twice',
      [
        2,
        null,
        3,
        'n1',
        1,
        'h',
        'p',
        'r',
        [
          ['a', ''],
          ['a', ''],
        ],
        'v',
        1,
      ],
    ],
    ['a label that is no pair', [2, null, 3, 'n1', 1, 'h', 'p', 'r', [['a']], 'v', 1]],
    [
      'too many labels',
      [2, null, 3, 'n1', 1, 'h', 'p', 'r', Array.from({ length: 65 }, (_, at) => [`l${at + 100}`, '']), 'v', 1],
    ],
    ['an address of 257 characters', [2, null, 3, 'n1', 1, 'h'.repeat(257), 'p', 'r', [], 'v', 1]],
    ['a join token without an id', [2, null, 9, '', 0, 1000, 1, [], 0, '']],
    ['a join token with an id in capitals', [2, null, 9, 'A'.repeat(16), 0, 1000, 1, [], 0, '']],
    ['a join token that expires before it is there', [2, null, 9, tokenId, 1000, 0, 1, [], 0, '']],
    ['a join token for less than a second', [2, null, 9, tokenId, 0, 999, 1, [], 0, '']],
    ['a join token for more than a week', [2, null, 9, tokenId, 0, 604_800_001, 1, [], 0, '']],
    ['a join token for nobody', [2, null, 9, tokenId, 0, 1000, 0, [], 0, '']],
    ['a join token for 101 nodes', [2, null, 9, tokenId, 0, 1000, 101, [], 0, '']],
    ['a join token that was used', [2, null, 9, tokenId, 0, 1000, 1, ['n1'], 0, '']],
    ['a join token that was revoked', [2, null, 9, tokenId, 0, 1000, 1, [], 1, '']],
    ['a join token that may be revoked', [2, null, 9, tokenId, 0, 1000, 1, [], false, '']],
    ['a join token with a note of 201 characters', [2, null, 9, tokenId, 0, 1000, 1, [], 0, 'x'.repeat(201)]],
    ['a join token with more than it has', [2, null, 9, tokenId, 0, 1000, 1, [], 0, '', 'secret']],
    ['a use of an illegal join token', [2, null, 10, 'x', 'n1']],
    ['a use of a join token by an illegal node', [2, null, 10, tokenId, 'n 1']],
    ['a use of a join token by two', [2, null, 10, tokenId, 'n1', 'n2']],
    ['a revocation of an illegal join token', [2, null, 11, tokenId.slice(1)]],
    ['a revocation of two join tokens', [2, null, 11, tokenId, tokenId]],
    ['a drain of an illegal node', [2, null, 12, 'n 1', 0]],
    ['a drain of another kind', [2, null, 12, 'n1', 2]],
    ['a drain that is no number', [2, null, 12, 'n1', 'drain']],
    ['a drain without what is wanted', [2, null, 12, 'n1']],
    ['a reserved server name', [2, null, 4, 'n1', 1, 'quorate', 0, 0, '', 0, null, 0, 0, []]],
    ['an unknown transport', [2, null, 4, 'n1', 1, 'files', 2, 0, '', 0, null, 0, 0, []]],
    ['an unknown status', [2, null, 4, 'n1', 1, 'files', 0, 'ready', '', 0, null, 0, 0, []]],
    ['an offer of four parts', [2, null, 4, 'n1', 1, 'files', 0, 1, '', 0, offer.slice(1), 0, 0, []]],
    [
      'an offer past its limit',
      [2, null, 4, 'n1', 1, 'files', 0, 1, '', 0, [...offer.slice(1), 'x'.repeat(4 * 1024 * 1024)], 0, 0, []],
    ],
    ['a reason past its limit', [2, null, 4, 'n1', 1, 'files', 0, 1, 'x'.repeat(2049), 0, null, 0, 0, []]],
    ['a replica as it was published before replicas had groups', [2, null, 4, 'n1', 1, 'files', 0, 1, '', 0, null]],
    ['an unknown isolation', [2, null, 4, 'n1', 1, 'files', 0, 1, '', 0, null, 3, 0, []]],
    ['an unknown visibility', [2, null, 4, 'n1', 1, 'files', 0, 1, '', 0, null, 0, 2, []]],
    ['a group twice', [2, null, 4, 'n1', 1, 'files', 0, 1, '', 0, null, 0, 0, ['a', 'a']]],
    ['groups in the wrong order', [2, null, 4, 'n1', 1, 'files', 0, 1, '', 0, null, 0, 0, ['b', 'a']]],
    ['a group without a name', [2, null, 4, 'n1', 1, 'files', 0, 1, '', 0, null, 0, 0, ['']]],
    ['a group with a long name', [2, null, 4, 'n1', 1, 'files', 0, 1, '', 0, null, 0, 0, ['x'.repeat(65)]]],
    ['more of a replica than it has', [2, null, 4, 'n1', 1, 'files', 0, 1, '', 0, null, 0, 0, [], 0]],
    ['a session with an id in capitals', [2, null, 13, ...opening({ id: sessionIdOf(10).toUpperCase() })]],
    ['a session without an id', [2, null, 13, ...opening({ id: '' })]],
    ['a session with a path of 257 characters', [2, null, 13, ...opening({ path: '/'.repeat(257) })]],
    ['a session of an unknown transport', [2, null, 13, ...opening({ transport: 2 })]],
    ['a session with a long version', [2, null, 13, ...opening({ version: 'x'.repeat(33) })]],
    ['a session whose client says too much of itself', [2, null, 13, ...opening({ clientInfo: 'é'.repeat(2049) })]],
    ['a session whose client says nothing of itself', [2, null, 13, ...opening({ clientInfo: '' })]],
    ['a session whose client can do too much', [2, null, 13, ...opening({ capabilities: 'x'.repeat(4097) })]],
    ['a session that may be unused for less than a second', [2, null, 13, ...opening({ idleMs: 999 })]],
    ['a session that may be unused for more than a week', [2, null, 13, ...opening({ idleMs: 604_800_001 })]],
    ['more of a session than it has', [2, null, 13, ...opening({}), 0]],
    ['an end of two sessions', [2, null, 14, sessionIdOf(1), sessionIdOf(2)]],
    ['an end of no session', [2, null, 14, 's']],
    ['a use of one session twice', [2, null, 15, sessionIdOf(1), sessionIdOf(1)]],
    ['a use of something else', [2, null, 15, sessionIdOf(1), 1]],
    ['a use of 1001 sessions', [2, null, 15, ...Array.from({ length: 1001 }, (_, n) => sessionIdOf(n))]],
    ['a level that is none', [2, null, 16, sessionIdOf(1), 8]],
    ['a level by its name', [2, null, 16, sessionIdOf(1), 'debug']],
    ['a subscription to nothing', [2, null, 17, sessionIdOf(1), 'files', '']],
    ['a subscription to a long URI', [2, null, 17, sessionIdOf(1), 'files', 'x'.repeat(4097)]],
    ['a subscription at a reserved server', [2, null, 17, sessionIdOf(1), 'quorate', 'a:']],
    ['the end of two subscriptions', [2, null, 18, sessionIdOf(1), 'files', 'a:', 'b:']],
    ['a pin to an illegal node', [2, null, 19, sessionIdOf(1), 'files', 'n 1']],
    ['a pin of an illegal server', [2, null, 19, sessionIdOf(1), 'a b', 'n1']],
    ['a generation that is text', [2, null, 5, 'n1', '1', 'files']],
    ['a member-delete without a generation', [2, null, 7, 'n1']],
    ['an empty idempotency key', [2, '', 2, 'a', null]],
    ['an idempotency key of 256 characters', [2, 'x'.repeat(256), 2, 'a', null]],
    ['an idempotency key with a space', [2, 'a b', 2, 'a', null]],
    ['an idempotency key that is no text', [2, 7, 2, 'a', null]],
  ])('finds %s malformed', (_, value) => {
    expect(decodeCommand(new Packr({ useRecords: false }).pack(value))).toHaveProperty('malformed')
  })

  it('takes the rows above when their fault is mended', () => {
    const replica = decodeCommand(pack([2, null, 4, 'n1', 1, 'files', 1, 1, '', -3, offer, 2, 1, ['a', 'b']]))
    expect(replica).toEqual(
      bare({
        kind: 'replica-set',
        replica: {
          node: 'n1' as NodeId,
          generation: 1,
          server: 'files' as ServerName,
          transport: 'http',
          status: 'ready',
          reason: '',
          priority: -3,
          offer: {
            initialize: toJsonText({}),
            tools: asJsonText('[]'),
            resources: asJsonText('[]'),
            resourceTemplates: asJsonText('[]'),
            prompts: asJsonText('[]'),
          },
          isolation: 'asking',
          whenUnavailable: 'hide',
          groups: ['a', 'b'],
        },
      }),
    )
  })

  it('takes the sessions above when their fault is mended, and a thousand of them at once', () => {
    expect(decodeCommand(pack([2, null, 13, ...opening({})]))).toEqual(
      bare({
        kind: 'session-open',
        session: {
          id: sessionIdOf(1),
          path: '/mcp',
          transport: 'streamable-http',
          protocolVersion: 'v',
          clientInfo: toJsonText({}),
          capabilities: toJsonText({}),
          idleMs: 1000,
        },
      }),
    )
    const long = opening({ clientInfo: 'é'.repeat(2048), capabilities: 'x'.repeat(4096), idleMs: 604_800_000 })
    expect(decodeCommand(pack([2, null, 13, ...long]))).toHaveProperty('command')
    const ids = Array.from({ length: 1000 }, (_, n) => sessionIdOf(n))
    const touch = bare({ kind: 'session-touch', ids })
    expect(decodeCommand(encodeCommand(touch))).toEqual(touch)
    const subscribe = [2, null, 17, sessionIdOf(1), 'files', 'x'.repeat(4096)]
    expect(decodeCommand(pack(subscribe))).toMatchObject({ command: { kind: 'session-subscribe', server: 'files' } })
  })

  it('never throws on random, cut or changed bytes', () => {
    const decode = (bytes: Uint8Array): void => {
      expect(typeof decodeCommand(bytes)).toBe('object')
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), decode), { numRuns: 2000 })
    fc.assert(
      fc.property(anyEnvelope, fc.nat(), fc.nat({ max: 255 }), (command, place, byte) => {
        const bytes = encodeCommand(command)
        decode(bytes.subarray(0, place % bytes.length))
        bytes[place % bytes.length] = byte
        decode(bytes)
      }),
      { numRuns: 2000 },
    )
  })

  it('finds cut bytes malformed, at whatever place', () => {
    const bytes = encodeCommand(set('a/b', '{"x":[1,2,3]}'))
    for (let length = 0; length < bytes.length; length += 1) {
      expect(decodeCommand(bytes.subarray(0, length))).toHaveProperty('malformed')
    }
  })
})
