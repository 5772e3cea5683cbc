/**
 * How a scripted client reaches a server: Streamable HTTP, HTTP+SSE, or the stdin and stdout of a process. Raw, so that
 * every byte that arrives is heard, and with what a good client does by itself: it comes back for a stream that has ids.
 */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { createParser } from 'eventsource-parser'
import { Agent, request, type Dispatcher } from 'undici'
import { memberOf } from '../fixtures/json-members.mjs'

export type Heard = {
  /** On which stream: that of the request with this label, `standalone`, or `wire` where all share one. */
  message(stream: string, text: string): void
  /** The stream of this request ended without its answer, and there is nothing to come back for. */
  unanswered(stream: string): void
  /** What was sent was refused; `label` of a request. */
  refused(status: number, text: string, label?: string): void
  /** Whether the request with this label still wants its answer. */
  isWaiting(label: string): boolean
}

export type Wire = {
  /** `label`: of a request; what arrives on its stream is told under it. */
  send(text: string, label?: string): Promise<void>
  /** Opens the standalone stream, where there is one. */
  listen(): Promise<void>
  close(): Promise<void>
}

const accept = 'application/json, text/event-stream'
const reconnectMs = 50

export class HttpWire implements Wire {
  readonly #url: string
  readonly #heard: Heard
  readonly #agent = new Agent({ headersTimeout: 0, bodyTimeout: 0 })
  readonly #stop = new AbortController()
  #version: string | null = null
  #session: string | null = null

  constructor(url: string, heard: Heard) {
    this.#url = url
    this.#heard = heard
  }

  async send(text: string, label?: string): Promise<void> {
    const response = await this.#request({
      method: 'POST',
      body: text,
      headers: { 'content-type': 'application/json' },
    })
    const session = response.headers['mcp-session-id']
    if (typeof session === 'string') this.#session = session
    if (response.statusCode === 202) await response.body.dump()
    else if (response.statusCode !== 200) this.#heard.refused(response.statusCode, await response.body.text(), label)
    else if (label === undefined) this.#heard.refused(200, await response.body.text())
    else if (String(response.headers['content-type']).startsWith('text/event-stream'))
      await this.#follow(response, label)
    else this.#arrived(label, await response.body.text())
  }

  async listen(): Promise<void> {
    const response = await this.#request({ method: 'GET' })
    if (response.statusCode !== 200) this.#heard.refused(response.statusCode, await response.body.text())
    else
      void this.#follow(response, 'standalone').catch((error: unknown) => {
        // It is followed until the wire is closed, which breaks a request for the rest of it.
        if (!this.#stop.signal.aborted) throw error
      })
  }

  async close(): Promise<void> {
    if (this.#session !== null) {
      const response = await this.#request({ method: 'DELETE' })
      await response.body.dump()
    }
    this.#stop.abort()
    await this.#agent.destroy()
  }

  #request(options: {
    method: 'POST' | 'GET' | 'DELETE'
    body?: string
    headers?: Readonly<Record<string, string>>
  }): Promise<Dispatcher.ResponseData> {
    return request(this.#url, {
      ...options,
      dispatcher: this.#agent,
      signal: this.#stop.signal,
      headers: {
        accept: options.method === 'GET' ? 'text/event-stream' : accept,
        ...options.headers,
        ...(this.#version === null ? {} : { 'mcp-protocol-version': this.#version }),
        ...(this.#session === null ? {} : { 'mcp-session-id': this.#session }),
      },
    })
  }

  /** Until the request has its answer; the standalone stream has no end. */
  async #follow(first: Dispatcher.ResponseData, stream: string): Promise<void> {
    let lastId: string | undefined
    let retryMs = reconnectMs
    const parser = createParser({
      onRetry: (ms) => (retryMs = ms),
      onEvent: ({ id, data }) => {
        lastId = id ?? lastId
        if (data !== '') this.#arrived(stream, data)
      },
    })
    for (let response = first; ;) {
      try {
        const decoder = new TextDecoder()
        for await (const chunk of response.body as AsyncIterable<Buffer>)
          parser.feed(decoder.decode(chunk, { stream: true }))
      } catch {
        // A broken stream is one that has ended.
      }
      parser.reset()
      const goesOn = stream === 'standalone' || this.#heard.isWaiting(stream)
      if (!goesOn || this.#stop.signal.aborted) return
      if (lastId === undefined) return this.#heard.unanswered(stream)
      await new Promise((resolve) => setTimeout(resolve, retryMs))
      response = await this.#request({ method: 'GET', headers: { 'last-event-id': lastId } })
      if (response.statusCode !== 200) {
        this.#heard.refused(response.statusCode, await response.body.text(), stream)
        return
      }
    }
  }

  #arrived(stream: string, text: string): void {
    this.#version ??= versionIn(text)
    this.#heard.message(stream, text)
  }
}

/** HTTP+SSE of 2024-11-05: one stream for all that the server says. */
export class SseWire implements Wire {
  readonly #url: string
  readonly #heard: Heard
  readonly #agent = new Agent({ headersTimeout: 0, bodyTimeout: 0 })
  readonly #stop = new AbortController()
  #endpoint: Promise<URL> | null = null

  constructor(url: string, heard: Heard) {
    this.#url = url
    this.#heard = heard
  }

  async send(text: string): Promise<void> {
    this.#endpoint ??= this.#open()
    const headers = { 'content-type': 'application/json' }
    const response = await request(await this.#endpoint, {
      method: 'POST',
      body: text,
      headers,
      dispatcher: this.#agent,
    })
    if (response.statusCode === 202) await response.body.dump()
    else this.#heard.refused(response.statusCode, await response.body.text())
  }

  listen(): Promise<void> {
    return Promise.resolve()
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await this.#agent.destroy()
  }

  async #open(): Promise<URL> {
    const headers = { accept: 'text/event-stream' }
    const response = await request(this.#url, { dispatcher: this.#agent, signal: this.#stop.signal, headers })
    return new Promise((resolve) => {
      const parser = createParser({
        onEvent: ({ event, data }) => {
          if (event === 'endpoint') resolve(new URL(data, this.#url))
          else this.#heard.message('wire', data)
        },
      })
      const decoder = new TextDecoder()
      response.body.on('data', (chunk: Buffer) => parser.feed(decoder.decode(chunk, { stream: true })))
      response.body.on('error', () => undefined)
    })
  }
}

export class StdioWire implements Wire {
  readonly #child
  readonly #ended: Promise<void>
  #closing = false

  constructor(command: readonly [string, ...string[]], heard: Heard) {
    const [program, ...args] = command
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'] })
    this.#child.stdin.on('error', () => undefined)
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', () => {
        if (!this.#closing) heard.unanswered('wire')
        resolve()
      })
    })
    createInterface({ input: this.#child.stdout, crlfDelay: Infinity }).on('line', (line) =>
      heard.message('wire', line),
    )
  }

  send(text: string): Promise<void> {
    this.#child.stdin.write(`${text}\n`)
    return Promise.resolve()
  }

  listen(): Promise<void> {
    return Promise.resolve()
  }

  async close(): Promise<void> {
    this.#closing = true
    this.#child.stdin.end()
    await this.#ended
  }
}

function versionIn(answer: string): string | null {
  const result = memberOf(answer, 'result')
  const version = result === undefined ? undefined : memberOf(result, 'protocolVersion')
  return version === undefined ? null : (JSON.parse(version) as string)
}
