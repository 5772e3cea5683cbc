import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  randomBytes,
} from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { isSameProof, proofBy } from './proof.ts'

/**
 * The cryptography of a join: proofs by the token's key, and a box that only the two ends of one exchange can open. Its key
 * comes of X25519 keys that are made for the exchange and of the token: who records the exchange and learns the token later
 * can not open it, nor can who sits in between without the token.
 */
export class JoinKey {
  readonly #key: Buffer

  /** `key`: the secret part of a join token. */
  constructor(key: Uint8Array) {
    this.#key = Buffer.from(key)
  }

  /** See identity/proof. */
  prove(label: string, parts: readonly Uint8Array[]): Uint8Array {
    return proofBy(this.#key, label, parts)
  }

  verify(proof: Uint8Array, label: string, parts: readonly Uint8Array[]): boolean {
    return isSameProof(proof, this.prove(label, parts))
  }

  /** Null: the other's key is none to agree with. */
  seal(plain: Uint8Array, { own, theirs, about }: Agreement): Uint8Array | null {
    const key = this.#agree({ own, theirs, about })
    if (key === null) return null
    const nonce = randomBytes(nonceBytes)
    const cipher = createCipheriv('aes-256-gcm', key, nonce)
    cipher.setAAD(about)
    return new Uint8Array(Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]))
  }

  /** Null: it was not sealed for this exchange, or was changed. */
  open(sealed: Uint8Array, { own, theirs, about }: Agreement): Uint8Array | null {
    const key = this.#agree({ own, theirs, about })
    if (key === null || sealed.length < nonceBytes + tagBytes) return null
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, nonceBytes), { authTagLength: tagBytes })
    decipher.setAAD(about)
    decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes))
    try {
      const plain = decipher.update(sealed.subarray(nonceBytes, sealed.length - tagBytes))
      return new Uint8Array(Buffer.concat([plain, decipher.final()]))
    } catch {
      return null
    }
  }

  #agree({ own, theirs, about }: Agreement): Buffer | null {
    try {
      const shared = diffieHellman({ privateKey: own.privateKey, publicKey: publicKeyOf(theirs) })
      return Buffer.from(hkdfSync('sha256', shared, this.#key, about, 32))
    } catch {
      // A point of low order, with which nothing would be agreed.
      return null
    }
  }
}

/** `about`: 32 bytes that no other exchange has. */
type Agreement = { readonly own: ExchangeKey; readonly theirs: Uint8Array; readonly about: Uint8Array }

/** An X25519 key pair for one exchange. */
export class ExchangeKey {
  readonly privateKey: KeyObject
  /** 32 bytes. */
  readonly publicBytes: Uint8Array

  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync('x25519')
    this.privateKey = privateKey
    this.publicBytes = rawOf(publicKey)
  }
}

export const exchangeKeyBytes = 32

const nonceBytes = 12
const tagBytes = 16

function publicKeyOf(bytes: Uint8Array): KeyObject {
  const x = Buffer.from(bytes).toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' })
}

function rawOf(publicKey: KeyObject): Uint8Array {
  const { x = '' } = publicKey.export({ format: 'jwk' })
  return new Uint8Array(Buffer.from(x, 'base64url'))
}
