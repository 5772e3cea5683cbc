import type { HandshakeRole } from '../identity/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/** Says each refusal and failure once until it changes, whatever the number of tries and lanes. Remembers a bounded number. */
export class RefusalReports {
  readonly #last = new Map<string, string>()

  /** What to tell, or null when it has been told. `from` names who it is about, independent of the try. */
  report(refusal: Refusal): { address: string; peer: NodeId | null; error: OperatingError; fatal: boolean } | null {
    const { from, address, role, peer, fatal } = refusal
    if (!this.isNews(from, `${refusal.error.code} ${fatal}`)) return null
    const operation = role === 'dialer' ? `connect to ${address}` : `connection from ${address}`
    const error = new OperatingError(refusal.error.code, `${operation}: ${refusal.error.message}`)
    return { address, peer, error, fatal }
  }

  isNews(about: string, what: string): boolean {
    if (this.#last.get(about) === what) return false
    this.#last.delete(about)
    this.#last.set(about, what)
    for (const oldest of this.#last.keys()) {
      if (this.#last.size <= rememberedMax) break
      this.#last.delete(oldest)
    }
    return true
  }

  /** All went well, or nobody asks any more: the next refusal is news. */
  forget(from: string): void {
    this.#last.delete(from)
  }
}

export type Refusal = {
  readonly from: string
  readonly address: string
  readonly role: HandshakeRole
  readonly peer: NodeId | null
  readonly error: OperatingError
  readonly fatal: boolean
}

const rememberedMax = 256
