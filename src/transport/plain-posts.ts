import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock, Timer } from '../std/clock.ts'
import { formatAddress } from '../vocabulary/addresses.ts'

/**
 * The one path of a listener that is asked by a plain POST instead of a WebSocket: few answered at a time, each of a bounded
 * size and within a time, and over its connection when it is answered. What is asked and answered is not known here.
 */
export class PlainPosts {
  readonly #options: PlainPostsOptions
  #underWay = 0

  constructor(options: PlainPostsOptions) {
    this.#options = options
  }

  isFor({ method, url }: IncomingMessage): boolean {
    return method === 'POST' && url === this.#options.path
  }

  /**
   * `begun`: all of it is here, and there is room for it. Until then its connection is one of a stranger like any other, so
   * that those who never say what they want take nobody's place.
   */
  take(request: IncomingMessage, response: ServerResponse, begun: () => void): void {
    void this.#perform(request, response, begun)
  }

  async #perform(request: IncomingMessage, response: ServerResponse, begun: () => void): Promise<void> {
    const { answer, clock, answerMs } = this.#options
    const { socket } = request
    const body = await readBody(request)
    if (body === 'broken' || socket.destroyed) return void socket.destroy()
    if (body === 'too-large') return respond(response, 413, `a body of more than ${bodyBytesMax} bytes is not read\n`)
    if (this.#underWay >= underWayMax) return respond(response, 429, `${underWayMax} are under way; try again\n`)
    this.#underWay += 1
    begun()
    const abort = new AbortController()
    let timer: Timer = clock.after(answerMs, () => {
      respond(response, 408, 'this took too long; try again\n')
      abort.abort()
      // Who does not read the answer either has no more time for it.
      timer = clock.after(lastWordsMs, () => socket.destroy())
    })
    socket.once('close', () => {
      this.#underWay -= 1
      timer.cancel()
      abort.abort()
    })
    const { remoteAddress: host = 'unknown', remotePort: port = 0 } = socket
    const { status, text } = await answer({ body, from: formatAddress({ host, port }), signal: abort.signal })
    return respond(response, status, text)
  }
}

export type PlainPostsOptions = {
  readonly path: string
  /** Does not reject. */
  readonly answer: AnswerPost
  /** From the end of a request's body to its answer; until then its connection's time counts. */
  readonly answerMs: number
  readonly clock: Clock
}

export type AnswerPost = (post: {
  readonly body: Uint8Array
  /** HOST:PORT of who asks, for the log. */
  readonly from: string
  /** Nobody waits for the answer any more. */
  readonly signal: AbortSignal
}) => Promise<{ readonly status: number; readonly text: string }>

const bodyBytesMax = 16 * 1024
const underWayMax = 8
const lastWordsMs = 1000

/** What is beyond the limit is not read, nor kept. */
function readBody(request: IncomingMessage): Promise<Uint8Array | 'too-large' | 'broken'> {
  return new Promise((resolve) => {
    const parts: Buffer[] = []
    let length = 0
    request.on('data', (part: Buffer) => {
      length += part.length
      if (length <= bodyBytesMax) return void parts.push(part)
      request.pause()
      return resolve('too-large')
    })
    request.once('end', () => resolve(new Uint8Array(Buffer.concat(parts))))
    request.once('close', () => resolve('broken'))
  })
}

/** Nothing follows on the connection. */
function respond(response: ServerResponse, status: number, text: string): void {
  if (response.headersSent || response.destroyed) return
  response.writeHead(status, {
    connection: 'close',
    'content-type': text.startsWith('{') ? 'application/json' : 'text/plain',
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}
