import type { IncomingMessage } from 'node:http'
import type { Clock } from '../std/clock.ts'
import { joinBytes } from '../std/join-bytes.ts'
import type { GatewayLimits } from './limits.ts'

/**
 * Reads requests' bodies within a size, a time and a sum over all that are held at once. What is too large is read on
 * for that time and thrown away, because a client that still sends does not see an answer followed by a closed socket.
 */
export type Body =
  /** Its share of the sum is held until `release` is called, once: whatever was made of the bytes lives so long. */
  | { readonly kind: 'bytes'; readonly bytes: Buffer; release(): void }
  | { readonly kind: 'too-large' | 'too-slow' | 'overloaded' }
  /** The client went away before the end: nobody waits for an answer. */
  | { readonly kind: 'cut' }

export class BodyReader {
  readonly #clock: Clock
  readonly #limits: Pick<GatewayLimits, 'bodyBytesMax' | 'bodyTimeoutMs' | 'bodiesBytesMax'>
  #bytesHeld = 0

  constructor(clock: Clock, limits: Pick<GatewayLimits, 'bodyBytesMax' | 'bodyTimeoutMs' | 'bodiesBytesMax'>) {
    this.#clock = clock
    this.#limits = limits
  }

  /** Of one that came another way. Answers how to release it; null: too much is held already. */
  hold(bytes: number): (() => void) | null {
    if (this.#bytesHeld + bytes > this.#limits.bodiesBytesMax) return null
    this.#bytesHeld += bytes
    return () => {
      this.#bytesHeld -= bytes
    }
  }

  read(req: IncomingMessage): Promise<Body> {
    const { bodyBytesMax, bodiesBytesMax, bodyTimeoutMs } = this.#limits
    return new Promise((resolve) => {
      const chunks: Buffer[] = []
      let bytes = 0
      let settled = false
      const release = (): void => {
        this.#bytesHeld -= bytes
      }
      const settle = (body: Body): void => {
        if (settled) return
        settled = true
        if (body.kind !== 'bytes') release()
        chunks.length = 0
        resolve(body)
      }
      const timer = this.#clock.after(bodyTimeoutMs, () => {
        if (settled) req.destroy()
        else settle({ kind: 'too-slow' })
      })
      req.on('data', (chunk: Buffer) => {
        if (settled) return
        bytes += chunk.length
        this.#bytesHeld += chunk.length
        chunks.push(chunk)
        if (bytes > bodyBytesMax) settle({ kind: 'too-large' })
        else if (this.#bytesHeld > bodiesBytesMax) settle({ kind: 'overloaded' })
      })
      req.on('end', () => {
        timer.cancel()
        settle({ kind: 'bytes', bytes: joinBytes(chunks), release })
      })
      req.on('close', () => {
        timer.cancel()
        settle({ kind: 'cut' })
      })
      if (Number(req.headers['content-length'] ?? 0) > bodyBytesMax) settle({ kind: 'too-large' })
    })
  }
}
