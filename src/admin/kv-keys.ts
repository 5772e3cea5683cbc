import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../std/clock.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { OriginHeaders } from '../vocabulary/http-origin.ts'
import { valueBytesMax } from '../vocabulary/kv-limits.ts'
import type { FailedRequest } from './api.ts'
import { Deadline } from './deadline.ts'
import type { StepLimits } from './deadline.ts'
import type { ErrorAnswer } from './error-answer.ts'
import { httpStatus } from './http-status.ts'
import { entryText, lateRead } from './kv-api.ts'
import type { Consistency, KvNeeds, ReadLimits, WriteLimits } from './needs.ts'
import { readJsonBody } from './request-body.ts'
import {
  consistencyOf,
  idempotencyKeyOf,
  ifMatchOf,
  keyOf,
  queryOf,
  rawPath,
  refusePromises,
  timeoutOf,
} from './request-input.ts'

/**
 * `/v1/kv/{key}` on bare node:http, because what is read and written most must not pay for a router, a Request and a
 * Response each time. Every request ends within its time, a value comes back byte for byte as it was put, and no answer
 * claims that a write did not happen when it may have.
 */
export class KvKeys {
  readonly #options: KvKeysOptions

  constructor(options: KvKeysOptions) {
    this.#options = options
  }

  serves(incoming: IncomingMessage): boolean {
    return rawPath(incoming).startsWith(keyPrefix)
  }

  handle(incoming: IncomingMessage, outgoing: ServerResponse): void {
    this.#answer(incoming, outgoing).then(
      (text) => {
        if (text === null) outgoing.writeHead(204, { ...headers, allow }).end()
        else send(outgoing, { status: 200, headers, body: text })
      },
      (error: unknown) => this.#fail(error, incoming, outgoing),
    )
  }

  /** Null: nothing but which methods there are. */
  async #answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<string | null> {
    const refused = this.#options.refusal(incoming.headers)
    if (refused !== null) throw refused
    switch (incoming.method ?? '') {
      case 'GET':
      case 'HEAD':
        return this.#get(incoming, outgoing)
      case 'PUT':
        return this.#put(incoming, outgoing)
      case 'DELETE':
        return this.#delete(incoming, outgoing)
      case 'OPTIONS':
        return null
      default:
        refusePromises(incoming)
        throw new OperatingError('method-not-allowed', `this path takes ${allow}`)
    }
  }

  async #get(incoming: IncomingMessage, outgoing: ServerResponse): Promise<string> {
    const key = keyOf(incoming, keyPrefix)
    const consistency = consistencyOf(queryOf(incoming, ['consistency']).consistency)
    const found = await this.#begin(incoming, outgoing).step(
      () => lateRead('the key'),
      (limits) => this.#options.kv.get(key, new KeyLimits(limits, { consistency, ...unconditional })),
    )
    if (found === undefined) throw new OperatingError('not-found', `there is no key ${JSON.stringify(key)}`)
    return entryText(found)
  }

  async #put(incoming: IncomingMessage, outgoing: ServerResponse): Promise<string> {
    const { key, conditions } = writeOf(incoming)
    let isAllThere = false
    const late = (): OperatingError => (isAllThere ? lateWrite('put') : lateBody())
    const { revision } = await this.#begin(incoming, outgoing).step(late, async (limits) => {
      const { text } = await readJsonBody(incoming, { bytesMax: valueBytesMax, signal: null })
      isAllThere = true
      return this.#options.kv.put(key, text, new KeyLimits(limits, { consistency: 'linearizable', ...conditions }))
    })
    return revisionText(key, revision)
  }

  async #delete(incoming: IncomingMessage, outgoing: ServerResponse): Promise<string> {
    const { key, conditions } = writeOf(incoming)
    const { revision } = await this.#begin(incoming, outgoing).step(
      () => lateWrite('delete'),
      (limits) => this.#options.kv.delete(key, new KeyLimits(limits, { consistency: 'linearizable', ...conditions })),
    )
    return revisionText(key, revision)
  }

  #begin(incoming: IncomingMessage, outgoing: ServerResponse): Deadline {
    return new Deadline({ clock: this.#options.clock, timeoutMs: timeoutOf(incoming), client: outgoing })
  }

  #fail(error: unknown, incoming: IncomingMessage, outgoing: ServerResponse): void {
    const { method, url: path } = incoming
    const answer = this.#options.answerFailure(error, { method, path })
    const isOfMethod = answer.status === httpStatus['method-not-allowed']
    send(outgoing, { ...answer, headers: { ...headers, ...answer.headers, ...(isOfMethod && { allow }) } })
    this.#leaveBody(incoming)
  }

  /** What is left of a body that nobody wants is read away for a moment, so that the answer arrives, and then cut. */
  #leaveBody(incoming: IncomingMessage): void {
    if (incoming.readableEnded || incoming.destroyed) return
    const timer = this.#options.clock.after(bodyGraceMs, () => incoming.destroy())
    incoming.once('close', () => timer.cancel()).resume()
  }
}

export type KvKeysOptions = {
  readonly kv: Pick<KvNeeds, 'get' | 'put' | 'delete'>
  readonly clock: Clock
  readonly refusal: (headers: OriginHeaders) => OperatingError | null
  readonly answerFailure: (error: unknown, request: FailedRequest) => ErrorAnswer
}

const keyPrefix = '/v1/kv/'
const allow = 'GET, PUT, DELETE, HEAD, OPTIONS'
const headers = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'content-type': 'application/json',
}
/** How long the rest of a refused body is read. */
const bodyGraceMs = 500

type Answer = {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

function send(outgoing: ServerResponse, { status, headers, body }: Answer): void {
  outgoing.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body)
}

type Conditions = Pick<WriteLimits, 'expect' | 'idempotencyKey'>
const unconditional: Conditions = { expect: null, idempotencyKey: null }

/** What the step may take, with the rest; a class, so that the signal is made only for who asks for it. */
class KeyLimits implements ReadLimits, WriteLimits {
  readonly consistency: Consistency
  readonly expect: number | null
  readonly idempotencyKey: string | null
  readonly #limits: StepLimits

  constructor(limits: StepLimits, { consistency, expect, idempotencyKey }: Conditions & { consistency: Consistency }) {
    this.#limits = limits
    this.consistency = consistency
    this.expect = expect
    this.idempotencyKey = idempotencyKey
  }

  get timeoutMs(): number {
    return this.#limits.timeoutMs
  }

  get signal(): AbortSignal {
    return this.#limits.signal
  }
}

function writeOf(incoming: IncomingMessage): { key: string; conditions: Conditions } {
  refusePromises(incoming)
  const key = keyOf(incoming, keyPrefix)
  queryOf(incoming, [])
  return { key, conditions: { expect: ifMatchOf(incoming), idempotencyKey: idempotencyKeyOf(incoming) } }
}

function revisionText(key: string, revision: number): string {
  return `{"key":${JSON.stringify(key)},"revision":${revision}}`
}

function lateBody(): OperatingError {
  return new OperatingError('bad-request', 'the body did not arrive within the time of the request')
}

function lateWrite(what: string): OperatingError {
  return new OperatingError('outcome-unknown', `${what}: no outcome within the time of the request`)
}
