import { secretBytesMin } from '../vocabulary/handshake.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { isSameProof, proofBy } from './proof.ts'

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

  /** See identity/proof. */
  prove(label: string, parts: readonly Uint8Array[]): Uint8Array {
    return proofBy(this.#key, label, parts)
  }

  verify(proof: Uint8Array, label: string, parts: readonly Uint8Array[]): boolean {
    return isSameProof(proof, this.prove(label, parts))
  }
}
