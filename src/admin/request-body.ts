import type { IncomingMessage } from 'node:http'
import { asJsonText } from '../std/json-text.ts'
import { isObject } from '../std/is-object.ts'
import type { JsonText } from '../std/json-text.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * Reads a JSON body within a limit. What is too large is refused as soon as that shows, by the declared length or while
 * reading; the rest is left to the server to drain or cut.
 */
export async function readJsonBody(
  incoming: IncomingMessage,
  options: BodyOptions,
): Promise<{ readonly text: JsonText; readonly value: unknown }> {
  const bytes = await readBytes(incoming, options)
  try {
    const text = decoder.decode(bytes)
    return { text: asJsonText(text), value: JSON.parse(text) }
  } catch {
    throw new OperatingError('bad-request', bytes.length === 0 ? 'the body is empty' : 'the body is not JSON in UTF-8')
  }
}

/** The members of a body that is one JSON object; a member of another name is refused. */
export async function readMembers<Name extends string>(
  incoming: IncomingMessage,
  { names, ...options }: BodyOptions & { readonly names: readonly Name[] },
): Promise<Readonly<Partial<Record<Name, unknown>>>> {
  const { value } = await readJsonBody(incoming, options)
  if (!isObject(value)) throw new OperatingError('bad-request', 'the body is not a JSON object')
  const unknown = Object.keys(value).find((name) => !names.some((known) => known === name))
  if (unknown === undefined) return value as Partial<Record<Name, unknown>>
  const shown = JSON.stringify(unknown.slice(0, 100))
  throw new OperatingError(
    'bad-request',
    `the member ${shown} of the body is not known; known: ${names.join(', ') || 'none'}`,
  )
}

/** `signal` null: the request itself is all that ends it. */
type BodyOptions = { readonly bytesMax: number; readonly signal: AbortSignal | null }

// A byte order mark is not JSON, and must not vanish from what is kept byte for byte.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function readBytes(incoming: IncomingMessage, { bytesMax, signal }: BodyOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let length = 0
    let isOver = false
    const fail = (error: unknown): void => {
      if (isOver) return
      isOver = true
      signal?.removeEventListener('abort', onAbort)
      reject(error)
    }
    // Listeners are not taken off again: the request goes soon, and what they would do is over.
    incoming.on('data', (chunk: Buffer) => {
      length += chunk.length
      if (length > bytesMax) fail(tooLarge(bytesMax))
      else if (!isOver) chunks.push(chunk)
    })
    incoming.on('end', () => {
      isOver = true
      signal?.removeEventListener('abort', onAbort)
      const [only] = chunks
      resolve(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, length))
    })
    const onGone = (): void => fail(new OperatingError('cancelled', 'the client went away within its request'))
    incoming.on('close', () => void (isOver || onGone()))
    // Aborted with a word of its own, or because the client is gone: then the reason is foreign text.
    const onAbort = (): void => (signal?.reason instanceof OperatingError ? fail(signal.reason) : onGone())
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted === true) onAbort()
    else if (Number(incoming.headers['content-length'] ?? 0) > bytesMax) fail(tooLarge(bytesMax))
  })
}

function tooLarge(bytesMax: number): OperatingError {
  return new OperatingError('too-large', `the body is larger than ${bytesMax} bytes`)
}
