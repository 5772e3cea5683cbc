import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/std/random.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import type { JoinAnswer, JoinGrant, JoinRequest } from '../../src/vocabulary/join.ts'
import { joinBytesMax } from '../../src/vocabulary/join.ts'
import { wireVersions } from '../../src/wire/handshake-codec.ts'
import {
  decodeJoinAnswer,
  decodeJoinBody,
  decodeJoinGrant,
  encodeJoinAnswer,
  encodeJoinBody,
  encodeJoinGrant,
  encodeJoinRequest,
} from '../../src/wire/join-codec.ts'
import { mutate } from './mutate.ts'

// What comes over the plain POST of a join, from whoever: it is read, or called malformed in a sentence without the value.
const bytes = (length: number, fill = 7): Uint8Array => new Uint8Array(length).fill(fill)
const request: JoinRequest = {
  versions: wireVersions,
  tokenId: '0123456789abcdef',
  clusterId: '11111111-2222-3333-4444-555555555555' as ClusterId,
  clusterName: 'prod',
  node: 'n4' as NodeId,
  clock: 1_700_000_000_000,
  version: '1.2.3',
  key: bytes(32),
  nonce: bytes(32, 9),
}
const welcome: JoinAnswer = { kind: 'welcome', key: bytes(32), sealed: bytes(300), proof: bytes(32, 1) }
const refusal: JoinAnswer = { kind: 'refuse', code: 'token-refused', message: 'it has expired', proof: bytes(32, 2) }
const grant: JoinGrant = {
  clusterId: request.clusterId,
  clusterName: 'prod',
  secret: 's'.repeat(40),
  peers: ['10.0.0.1:6271', '[::1]:6271'],
}

function body(said: object): Uint8Array {
  return Buffer.from(encodeJoinBody({ bytes: Buffer.from(JSON.stringify(said)), proof: bytes(32, 3) }))
}

/** As it is sent. */
function plain(of: JoinRequest): Record<string, unknown> {
  return JSON.parse(Buffer.from(encodeJoinRequest(of)).toString()) as Record<string, unknown>
}

describe('the join codec', () => {
  it('reads what it wrote', () => {
    const sent = encodeJoinRequest(request)
    expect(decodeJoinBody(body(plain(request)))).toEqual({
      versions: request.versions,
      tokenId: request.tokenId,
      clusterId: request.clusterId,
      request,
      bytes: sent,
      proof: bytes(32, 3),
    })
    for (const answer of [welcome, refusal]) {
      expect(decodeJoinAnswer(Buffer.from(encodeJoinAnswer(answer)))).toEqual(answer)
    }
    expect(decodeJoinGrant(encodeJoinGrant(grant))).toEqual(grant)
  })

  it('reads of a request of another version only whose it is, and ignores what it does not know', () => {
    const { versions: _, ...rest } = request
    const newer = { versions: { min: 9, max: 12 }, tokenId: rest.tokenId, clusterId: rest.clusterId, more: [1] }
    expect(decodeJoinBody(body(newer))).toMatchObject({ versions: newer.versions, request: null })
    const more = { ...plain(request), more: 1 }
    expect(decodeJoinBody(body(more))).toMatchObject({ request: { node: 'n4' } })
  })

  it('takes the code of a newer node for an accident, and what it says for what it says', () => {
    const text = JSON.stringify({ kind: 'refuse', code: 'not-invented', message: 'no', proof: '' })
    expect(decodeJoinAnswer(Buffer.from(text))).toMatchObject({ code: 'internal', message: 'no' })
  })

  it('refuses each field that is not what it should be, by its name', () => {
    const said = plain(request)
    const wrong: Record<string, unknown> = {
      versions: { min: 2, max: 1 },
      tokenId: 'x',
      clusterId: '../..',
      clusterName: 'a b',
      node: '',
      clock: -1,
      version: 'v'.repeat(65),
      key: Buffer.alloc(31).toString('base64url'),
      nonce: '*',
    }
    expect(Object.keys(wrong).sort()).toEqual(Object.keys(said).sort())
    for (const [field, value] of Object.entries(wrong)) {
      expect(decodeJoinBody(body({ ...said, [field]: value }))).toEqual({ malformed: `request: field ${field}` })
    }
    expect(decodeJoinGrant(Buffer.from(JSON.stringify({ ...grant, secret: 'short' })))).toEqual({
      malformed: 'grant: field secret',
    })
    const large = `${JSON.stringify({ kind: 'refuse', code: 'internal', message: '', proof: '' })}${' '.repeat(joinBytesMax)}`
    expect(decodeJoinAnswer(Buffer.from(large))).toHaveProperty('malformed')
  })

  it.each([
    ['of few characters', 'é'.repeat(16)],
    ['of bytes that are no text', Buffer.alloc(4096, 0xff).toString()],
    ['of characters that JSON writes longer', '\u0001'.repeat(4096)],
  ])('carries every secret that a file may hold: one %s', (_, secret) => {
    const peers = Array.from({ length: 16 }, (_, n) => `${'h'.repeat(290)}${n}:6271`)
    const sealed = encodeJoinGrant({ ...grant, secret, peers })
    expect(decodeJoinGrant(sealed)).toEqual({ ...grant, secret, peers })
    const answer: JoinAnswer = { ...welcome, sealed }
    expect(decodeJoinAnswer(Buffer.from(encodeJoinAnswer(answer)))).toEqual(answer)
  })

  it('says of any bytes, cut and changed messages too, what they are not', () => {
    const random = new Random(Number(process.env['FUZZ_SEED'] ?? 1))
    const samples = [body(plain(request)), Buffer.from(encodeJoinAnswer(welcome)), encodeJoinGrant(grant)]
    const decoders = [decodeJoinBody, decodeJoinAnswer, decodeJoinGrant]
    const read = (given: Uint8Array): void => {
      for (const decode of decoders) {
        const decoded = decode(given)
        expect('malformed' in decoded ? decoded.malformed.length : 1).toBeLessThan(200)
      }
    }
    for (const each of samples) for (let length = 0; length < each.length; length += 1) read(each.subarray(0, length))
    const sample = (): Uint8Array => samples[random.below(samples.length)] ?? bytes(1)
    for (let round = 0; round < 5000; round += 1) read(mutate(random, sample(), sample()))
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), read))
    fc.assert(fc.property(fc.json(), (text) => read(Buffer.from(text))))
  })
})
