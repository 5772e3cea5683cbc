import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ExchangeKey, exchangeKeyBytes, JoinKey } from '../../src/identity/join-key.ts'

const key = new JoinKey(new Uint8Array(32).fill(7))
const otherKey = new JoinKey(new Uint8Array(32).fill(8))
const about = new Uint8Array(32).fill(1)
const plain = new Uint8Array(Buffer.from('the secret of the cluster, and what else a node needs'))

/** Sealed by `there` for `here`. */
const [here, there] = [new ExchangeKey(), new ExchangeKey()]
function sealed(): Uint8Array {
  const box = key.seal(plain, { own: there, theirs: here.publicBytes, about })
  if (box === null) throw new Error('it was not sealed')
  return box
}

describe('a box of a join', () => {
  it('is opened by the other end of the exchange with the same token, and is another each time', () => {
    const box = sealed()
    expect(key.open(box, { own: here, theirs: there.publicBytes, about })).toEqual(plain)
    expect(Buffer.from(box).includes('secret')).toBe(false)
    expect(sealed()).not.toEqual(box)
  })

  it('holds whatever bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
        const box = key.seal(bytes, { own: there, theirs: here.publicBytes, about })
        expect(key.open(box ?? bytes, { own: here, theirs: there.publicBytes, about })).toEqual(bytes)
      }),
      { numRuns: 50 },
    )
  })

  it('is opened by nobody with another key pair, another token or another exchange in mind', () => {
    const box = sealed()
    const theirs = there.publicBytes
    expect(key.open(box, { own: new ExchangeKey(), theirs, about })).toBe(null)
    expect(key.open(box, { own: here, theirs: new ExchangeKey().publicBytes, about })).toBe(null)
    expect(key.open(box, { own: here, theirs, about: new Uint8Array(32) })).toBe(null)
    expect(otherKey.open(box, { own: here, theirs, about })).toBe(null)
  })

  it('with any bit changed, cut or lengthened, is not opened', () => {
    const box = sealed()
    const open = (changed: Uint8Array): unknown => key.open(changed, { own: here, theirs: there.publicBytes, about })
    for (let at = 0; at < box.length; at += 1) {
      const changed = new Uint8Array(box)
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
      expect(open(changed)).toBe(null)
      expect(open(box.subarray(0, at))).toBe(null)
    }
    expect(open(new Uint8Array([...box, 0]))).toBe(null)
    expect(open(box)).toEqual(plain)
  })

  // With these points every key pair agrees on the same secret, which is all zeros (RFC 7748, section 6.1).
  it.each([
    ['0', '00'.repeat(32)],
    ['1', `01${'00'.repeat(31)}`],
    ['a point of order 8', 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'],
    ['another point of order 8', '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157'],
    ['p - 1', `ec${'ff'.repeat(30)}7f`],
    ['p', `ed${'ff'.repeat(30)}7f`],
    ['p + 1', `ee${'ff'.repeat(30)}7f`],
    ['31 bytes', '09'.repeat(31)],
    ['33 bytes', '09'.repeat(33)],
    ['nothing', ''],
  ])('is neither sealed nor opened for a key that is none: %s', (_, hex) => {
    const theirs = new Uint8Array(Buffer.from(hex, 'hex'))
    expect(key.seal(plain, { own: there, theirs, about })).toBe(null)
    expect(key.open(sealed(), { own: here, theirs, about })).toBe(null)
  })
})

describe('the key of an exchange', () => {
  it('is another for each, of 32 bytes, and its private part is in nothing that is printed', () => {
    expect(here.publicBytes).toHaveLength(exchangeKeyBytes)
    expect(here.publicBytes).not.toEqual(there.publicBytes)
    const { d = '' } = here.privateKey.export({ format: 'jwk' })
    expect(d.length).toBeGreaterThan(40)
    expect(JSON.stringify(here)).not.toContain(d)
  })
})

describe('a proof by a token', () => {
  const parts = [Uint8Array.of(1, 2), Uint8Array.of(3)]

  it('is believed for the same label, parts and token, and for no others', () => {
    const proof = key.prove('label', parts)
    expect(key.verify(proof, 'label', parts)).toBe(true)
    expect(otherKey.verify(proof, 'label', parts)).toBe(false)
    expect(key.verify(proof, 'labe', [Uint8Array.of(0x6c), ...parts])).toBe(false)
    for (const others of [
      [Uint8Array.of(1), Uint8Array.of(2, 3)],
      [Uint8Array.of(1, 2, 3)],
      [...parts, new Uint8Array(0)],
      parts.toReversed(),
      [],
    ])
      expect(key.verify(proof, 'label', others)).toBe(false)
  })

  it('with any bit changed, or of another length, is not believed', () => {
    const proof = key.prove('label', parts)
    for (let bit = 0; bit < proof.length * 8; bit += 1) {
      const changed = new Uint8Array(proof)
      const at = bit >> 3
      changed[at] = (changed[at] ?? 0) ^ (1 << (bit % 8))
      expect(key.verify(changed, 'label', parts)).toBe(false)
    }
    for (const length of [0, 1, 31]) expect(key.verify(proof.subarray(0, length), 'label', parts)).toBe(false)
    expect(key.verify(new Uint8Array([...proof, 0]), 'label', parts)).toBe(false)
  })
})
