import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  positionsMax,
  printCallEventId,
  printFeedEventId,
  readEventId,
  resumableRequestIdLengthMax,
} from '../../src/gateway/event-ids.ts'
import { requestId } from '../../src/gateway/json-rpc.ts'
import { resultKinds } from '../../src/gateway/translation.ts'
import { asJsonText, toJsonText } from '../../src/std/json-text.ts'
import type { CallId, NodeId, ServerName } from '../../src/vocabulary/ids.ts'
import { isServerName } from '../../src/vocabulary/ids.ts'

const node = fc.stringMatching(/^[A-Za-z0-9._-]{1,64}$/).map((text) => text as NodeId)
const server = fc
  .stringMatching(/^[A-Za-z0-9_-]{1,48}$/)
  .filter(isServerName)
  .map((text: ServerName) => text)
const whole = fc.integer({ min: 0, max: 2 ** 48 })
const idText = fc
  .oneof(
    fc.string({ unit: 'binary' }).map((text) => toJsonText(text)),
    fc.integer().map((number) => toJsonText(number)),
    fc.constantFrom('0', '-0', '1e2', '12345678901234567890', '"\\u0041"', '1.50').map(asJsonText),
  )
  .filter((text) => text.length <= resumableRequestIdLengthMax)
const request = idText.map((text) => {
  const id = requestId(JSON.parse(text), text)
  if (id === undefined) throw new Error('it is neither string nor number')
  return id
})
const callEvent = fc.record({
  node,
  call: fc.tuple(node, whole, whole).map((parts) => parts.join('.') as CallId),
  seq: fc.oneof(whole, fc.constant('end' as const)),
  server,
  result: fc.constantFrom(...resultKinds),
  request,
})
const digest = fc.stringMatching(/^[0-9a-f]{8}([0-9a-f]{8})?$/)
const feedEvent = fc.record({
  told: fc.record({ tools: digest, resources: digest, prompts: digest }),
  positions: fc
    .array(fc.tuple(node, fc.record({ epoch: whole, seq: whole })), { maxLength: positionsMax })
    .map((entries) => new Map(entries)),
})

describe('an event id', () => {
  it('of a call says again what it was made of, the request id byte for byte', () => {
    fc.assert(
      fc.property(callEvent, (id) => {
        expect(readEventId(printCallEventId(id))).toEqual({ kind: 'call', ...id })
      }),
    )
  })

  it('of a session’s stream says again what it was made of', () => {
    fc.assert(
      fc.property(feedEvent, (id) => {
        const read = readEventId(printFeedEventId(id))
        expect(read).toEqual({ kind: 'feed', ...id })
        expect(read?.kind === 'feed' && [...read.positions.keys()]).toEqual([...id.positions.keys()])
      }),
    )
  })

  it('is visible ASCII, and fits into a header', () => {
    fc.assert(
      fc.property(fc.oneof(callEvent.map(printCallEventId), feedEvent.map(printFeedEventId)), (text) => {
        expect(text).toMatch(/^[!-~]{1,8192}$/)
      }),
    )
  })

  it('that is damaged is refused or read, and never throws', () => {
    fc.assert(
      fc.property(callEvent.map(printCallEventId), fc.nat(), fc.string({ maxLength: 3 }), (text, at, change) => {
        const damaged = text.slice(0, at % text.length) + change + text.slice((at % text.length) + 1)
        const read = readEventId(damaged)
        expect(read?.kind !== 'call' || isServerName(read.server)).toBe(true)
      }),
    )
  })

  it.each([
    '',
    '7',
    'c~',
    'c~n1~n1.1.1~0~files~plain~',
    'c~n1~n1.1.1~0~files~plain~bnVsbA',
    'c~n1~n1.1.1~0~files~plain~e30',
    'c~n1~n1.1.1~0~files~other~MQ',
    'c~n1~n1.1.1~0~a__b~plain~MQ',
    'c~n1~n1.1.1~-1~files~plain~MQ',
    'c~n1~n1.1.1~0~files~plain~MQ~',
    's~a~b',
    's~a~b~c~n1:1',
    's~a~b~c~n1:1:x',
    `s~a~b~c${'~n:1:1'.repeat(positionsMax + 1)}`,
  ])('%j is none of ours', (text) => {
    expect(readEventId(text)).toBeUndefined()
  })
})
