import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { runProgram } from '../../src/cli/program.ts'
import type { StartNode } from '../../src/cli/start.ts'

/** `stream`: parts of an event stream, written one by one; then it ends, is cut, or is held open. */
export type Answer = {
  status?: number
  body?: unknown
  text?: string
  cut?: boolean
  stream?: readonly string[]
  after?: 'end' | 'cut' | 'hold'
}
export type Seen = { method: string; url: string; headers: IncomingMessage['headers']; body: string }

/** A node's HTTP face with the answers that a test sets, by method and path. */
export class FakeNode {
  readonly seen: Seen[] = []
  readonly answers = new Map<string, Answer | Answer[]>()
  readonly #server: Server = createServer((request, response) => {
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => {
      const { method = '', url = '' } = request
      this.seen.push({ method, url, headers: request.headers, body })
      const set = this.answers.get(`${method} ${url.split('?')[0]}`)
      const answer = Array.isArray(set) ? set.shift() : set
      if (answer?.cut === true) request.socket.destroy()
      if (answer === undefined || answer.cut === true) return
      if (answer.stream !== undefined) return void stream(response, answer.stream, answer.after ?? 'end')
      response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' })
      response.end(answer.text ?? JSON.stringify(answer.body))
    })
  })

  async open(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Breaks every connection off, and serves on. */
  cutAll(): void {
    this.#server.closeAllConnections()
  }

  async close(): Promise<void> {
    this.cutAll()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

async function stream(
  response: ServerResponse,
  parts: readonly string[],
  after: 'end' | 'cut' | 'hold',
): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const part of parts) {
    await new Promise((resolve) => response.write(part, resolve))
    await new Promise((resolve) => setImmediate(resolve))
  }
  if (after === 'end') response.end()
  else if (after === 'cut') response.destroy()
}

export type RunOptions = {
  env?: Record<string, string>
  stdin?: AsyncIterable<string>
  isTTY?: boolean
  startNode?: StartNode
  interrupt?: AbortSignal
  /** A second one. */
  insist?: AbortSignal
  /** What is written is seen here at once. */
  out?: { stdout: string; stderr: string }
}

export async function runAgainst(
  url: string,
  args: string[],
  options: RunOptions = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const out = options.out ?? { stdout: '', stderr: '' }
  const isTTY = options.isTTY === true
  const code = await runProgram({
    args,
    version: '1.2.3',
    startNode: options.startNode ?? (() => Promise.reject(new Error('not asked for'))),
    terminal: {
      stdout: { write: (text) => (out.stdout += text), isTTY },
      stderr: { write: (text) => (out.stderr += text), isTTY },
      stdin: options.stdin ?? (async function* () {})(),
      env: { QUORATE_URL: url, ...options.env },
      self: 'quorate',
      unread: new AbortController().signal,
      interrupted: options.interrupt ?? new AbortController().signal,
      insisted: options.insist ?? new AbortController().signal,
    },
  })
  return { code, ...out }
}

export function refuse(status: number, code: string, more: object = {}): Answer {
  return { status, body: { error: { code, message: `message of ${code}`, retry: 'never', traceId: 't', ...more } } }
}
