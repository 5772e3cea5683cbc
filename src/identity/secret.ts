import { createHmac, timingSafeEqual } from 'node:crypto'
import { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * The cluster's shared secret. It is checked once, then used only as an HMAC key: no method gives it back, and printing
 * the object shows nothing of it.
 */
export class ClusterSecret {
  readonly #key: Buffer

  private constructor(key: Buffer) {
    this.#key = key
  }

  /** Error `bad-config` when it is too short to resist guessing; the message never contains it. */
  static from(text: string): ClusterSecret {
    const key = Buffer.from(text, 'utf8')
    if (key.length < secretBytesMin) {
      throw new OperatingError(
        'bad-config',
        `cluster.secret has ${key.length} bytes, at least ${secretBytesMin} are needed; \`openssl rand -hex 32\` makes one`,
      )
    }
    return new ClusterSecret(key)
  }

  /** HMAC-SHA-256 over the parts, each preceded by its length, so that no two lists of parts look alike. */
  prove(label: string, parts: readonly Uint8Array[]): Uint8Array {
    const hmac = createHmac('sha256', this.#key)
    const length = Buffer.alloc(4)
    for (const part of [Buffer.from(label, 'utf8'), ...parts]) {
      length.writeUInt32BE(part.length)
      hmac.update(length)
      hmac.update(part)
    }
    return new Uint8Array(hmac.digest())
  }

  /** Compares in constant time. */
  verify(proof: Uint8Array, label: string, parts: readonly Uint8Array[]): boolean {
    const expected = this.prove(label, parts)
    return proof.length === expected.length && timingSafeEqual(proof, expected)
  }
}

export const secretBytesMin = 32
