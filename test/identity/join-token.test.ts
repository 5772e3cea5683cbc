import { inspect } from 'node:util'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { joinKeyOf, makeJoinToken, parseJoinToken } from '../../src/identity/join-token.ts'
import { ClusterSecret } from '../../src/identity/secret.ts'
import type { ClusterId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { redactText } from '../../src/vocabulary/secrets.ts'

const secret = ClusterSecret.from('the secret of one cluster, and long enough')
const other = ClusterSecret.from('the secret of another cluster, long enough too')
const clusterId = '9f3c6a1e-2b7d-4c58-8e0f-1a2b3c4d5e6f' as ClusterId
const label = 'test'
const told = [Uint8Array.of(1, 2, 3)]

/** What it is refused for; null: it is taken. */
function refusalOf(text: string): string | null {
  try {
    parseJoinToken(text)
    return null
  } catch (error) {
    if (error instanceof OperatingError && error.code === 'bad-config') return error.message
    throw error
  }
}

/** Whether what the text's key proves is proven to who has that secret. */
function isBelieved(text: string, by: ClusterSecret): boolean {
  const token = parseJoinToken(text)
  return joinKeyOf(by, token).verify(token.key.prove(label, told), label, told)
}

describe('a join token', () => {
  it('names its cluster and itself, and proves itself to every node with the secret of that cluster, and to no other', () => {
    const { id, text } = makeJoinToken(secret, clusterId)
    expect(text).toMatch(/^qj1\.[0-9a-f-]{36}\.[0-9a-f]{16}\.[A-Za-z0-9_-]{43}$/)
    expect(parseJoinToken(text)).toMatchObject({ clusterId, id })
    expect(isBelieved(text, secret)).toBe(true)
    expect(isBelieved(text, other)).toBe(false)
  })

  it('is another each time it is made, and one is not known from another', () => {
    const [a, b] = [makeJoinToken(secret, clusterId), makeJoinToken(secret, clusterId)]
    expect(a.id).not.toBe(b.id)
    expect(a.text.split('.')[3]).not.toBe(b.text.split('.')[3])
  })

  it('is the same key by the same secret, now and after any upgrade', () => {
    const id = '0123456789abcdef'
    const proof = joinKeyOf(secret, { clusterId, id }).prove(label, told)
    // Worked out by another implementation.
    expect(Buffer.from(proof).toString('hex')).toBe('ea689bc831986d7c8ed9e27ccf7916471a6fb6f1392d3d7dfb1623434c971165')
  })

  it('is taken with space around it, as files have it', () => {
    const { text } = makeJoinToken(secret, clusterId)
    expect(isBelieved(`\r\n ${text}\n\n`, secret)).toBe(true)
  })

  it('with any one character changed is no token, or none that is believed', () => {
    const { text } = makeJoinToken(secret, clusterId)
    const character = fc.constantFrom(...Array.from('abcdefABCDEF0129_-.+/= \u00e9'))
    fc.assert(
      fc.property(fc.nat({ max: text.length - 1 }), character, (at, changed) => {
        fc.pre(text[at] !== changed)
        const wrong = `${text.slice(0, at)}${changed}${text.slice(at + 1)}`
        expect(refusalOf(wrong) === null && isBelieved(wrong, secret)).toBe(false)
      }),
      { numRuns: 2000 },
    )
  })

  const { text } = makeJoinToken(secret, clusterId)
  const [, , id = '', key = ''] = text.split('.')
  it.each<[string, string, string]>([
    ['nothing', ' \n', 'the join token is empty'],
    ['another secret', 'correct horse battery staple', 'is none: one begins with qj1.'],
    ['the secret of the cluster', 'f'.repeat(64), 'is none: one begins with qj1.'],
    ['a JSON answer', JSON.stringify({ token: text }), 'is none: one begins with qj1.'],
    ['a later format', text.replace('qj1', 'qj2'), 'is of the format qj2, and this release reads qj1 only'],
    ['a later format of other parts', 'qj12.abc', 'is of the format qj12, and this release reads qj1 only'],
    ['two tokens', `${text}\n${text}`, 'more than one line'],
    ['a token over two lines', `${text.slice(0, 60)}\n${text.slice(60)}`, 'more than one line'],
    ['its first letters', 'qj1', 'is cut: 98 of its characters are missing'],
    ['all but its last letter', text.slice(0, -1), 'is cut: 1 of its characters are missing'],
    ['all but its key', text.slice(0, -44), 'is cut: 44 of its characters are missing'],
    ['one letter more', `${text}A`, 'is not as it was made'],
    ['another part more', `${text}.more`, 'is not as it was made'],
    ['a cluster that is none', text.replace(clusterId, clusterId.toUpperCase()), 'is not as it was made'],
    ['an id in capitals', `qj1.${clusterId}.${'F'.repeat(16)}.${key}`, 'is not as it was made'],
    ['bits that are no part of the key', `qj1.${clusterId}.${id}.${'A'.repeat(42)}B`, 'is not as it was made'],
    ['letters of the other base64', `qj1.${clusterId}.${id}.${'+'.repeat(43)}`, 'is not as it was made'],
  ])('is not read from %s, and the error says why without repeating it', (_, wrong, why) => {
    const message = refusalOf(wrong) ?? ''
    expect(message).toContain(why)
    expect(message).toContain('quorate token create')
    expect(message).not.toContain(key)
    expect(redactText(message)).toBe(message)
  })

  it('is never thrown about by any text, and never taken for one that was made', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.string().map((more) => `qj1.${more}`),
        ),
        (wrong) => {
          expect(refusalOf(wrong)).not.toBe(null)
        },
      ),
      { numRuns: 2000 },
    )
  })

  it('is shown by nothing that its parts print', () => {
    const parsed = parseJoinToken(text)
    const key = Buffer.from(text.split('.')[3] ?? '', 'base64url')
    for (const shown of [JSON.stringify(parsed), inspect(parsed, { depth: 9, showHidden: true })]) {
      for (const form of ['hex', 'base64', 'base64url'] as const) expect(shown).not.toContain(key.toString(form))
    }
    expect(redactText(`with ${text}`)).toBe('with [redacted]')
  })
})
