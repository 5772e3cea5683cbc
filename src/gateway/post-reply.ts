import type { ServerResponse } from 'node:http'
import type { CallEvent } from '../calls/call.ts'
import type { Clock, Timer } from '../std/clock.ts'
import type { JsonText } from '../std/json-text.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { printCallEventId, resumableRequestIdLengthMax } from './event-ids.ts'
import type { CallEventId } from './event-ids.ts'
import { EventStream } from './event-stream.ts'
import type { RequestId } from './json-rpc.ts'
import type { GatewayLimits } from './limits.ts'
import type { CallOfReply, Gone, Reply } from './reply.ts'
import { sendJson } from './send-json.ts'

/**
 * The answer to one request on its own HTTP response. It is plain JSON (one write, the cheapest) as long as nothing but the
 * result is to be said; a progress token, the first event or a long wait turns it into an event stream, for good. Events
 * have ids, so a client that was given one may come back for the rest; one that was not and goes away has cancelled.
 * A request that is cancelled gets no answer: its stream ends empty, which is also how a JSON one is answered then.
 */
export type PostReplyOptions = {
  readonly res: ServerResponse
  readonly request: RequestId
  /** Whether the client's revision knows events without data. */
  readonly primes: boolean
  readonly clock: Clock
  readonly limits: Pick<GatewayLimits, 'keepAliveMs' | 'streamAfterMs' | 'streamBytesMax'>
  /** The client comes back with this id, and gets the rest as a stream. */
  readonly resumed?: CallEventId
}

/** A client that this node lets go comes back after so long. */
const comeBackMs = 500

export class PostReply implements Reply {
  readonly #options: PostReplyOptions
  #call: CallOfReply | null = null
  #gone: ((how: Gone) => void) | null = null
  #node: NodeId | null = null
  #stream: EventStream | null = null
  #patience: Timer | null = null
  #hasIds = false
  #done = false

  constructor(options: PostReplyOptions) {
    this.#options = options
    if (options.resumed === undefined) return
    this.#node = options.resumed.node
    this.#hasIds = true
  }

  begin(call: CallOfReply, gone: (how: Gone) => void): boolean {
    const { res, clock, limits, resumed } = this.#options
    this.#call = call
    this.#gone = gone
    res.on('close', () => this.#lose('closed'))
    if (resumed === undefined) this.#patience = clock.after(limits.streamAfterMs, () => this.#openStream())
    else this.#openStream()
    return call.wantsEvents && this.#isResumable
  }

  routed(node: NodeId): void {
    if (node === this.#node) return
    this.#node = node
    if (this.#stream !== null) this.#prime()
    else if (this.#call?.wantsEvents === true) this.#openStream()
  }

  hear({ seq, message }: CallEvent): void {
    this.#openStream()
    if (!this.#done) this.#stream?.send(message, this.#eventId(seq))
  }

  finish(message: JsonText): void {
    if (!this.#end()) return
    if (this.#stream === null) sendJson(this.#options.res, message)
    else {
      this.#stream.send(message, this.#eventId('end'))
      this.#stream.end()
    }
  }

  drop(): void {
    if (this.#done) return
    this.#stream ??= this.#makeStream()
    if (this.#end()) this.#stream.end()
  }

  release(): boolean {
    if (!this.#hasIds || !this.#end()) return false
    this.#stream?.retry(comeBackMs)
    this.#stream?.end()
    return true
  }

  get #isResumable(): boolean {
    return this.#options.request.text.length <= resumableRequestIdLengthMax
  }

  /** Sends the headers now. */
  #openStream(): void {
    if (this.#done || this.#stream !== null) return
    this.#patience?.cancel()
    this.#stream = this.#makeStream()
    if (this.#options.resumed === undefined) this.#prime()
  }

  #makeStream(): EventStream {
    const { res, clock, limits } = this.#options
    return new EventStream({
      res,
      clock,
      keepAliveMs: limits.keepAliveMs,
      bytesMax: limits.streamBytesMax,
      overflowed: () => this.#lose('slow'),
    })
  }

  #prime(): void {
    const id = this.#options.primes ? this.#eventId(0) : null
    if (id !== null) this.#stream?.prime(id)
  }

  /** Null while it is not known where the call is, and for requests that can not be resumed. */
  #eventId(seq: number | 'end'): string | null {
    if (this.#node === null || this.#call === null || !this.#isResumable) return null
    this.#hasIds = true
    const { id, server, result } = this.#call
    return printCallEventId({ node: this.#node, call: id, seq, server, result, request: this.#options.request })
  }

  #lose(why: Gone['why']): void {
    if (this.#end()) this.#gone?.({ how: this.#hasIds ? 'left' : 'cancelled', why })
  }

  /** False when the reply is over already. */
  #end(): boolean {
    if (this.#done) return false
    this.#done = true
    this.#patience?.cancel()
    return true
  }
}
