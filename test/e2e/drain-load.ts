import { request as httpRequest } from 'node:http'
import type { LocalNode } from '../../scripts/lib/local-cluster.ts'
import { waitFor } from '../wait.ts'

/**
 * Clients of MCP that hold a session and call without a pause, as those behind a balancer do: half of them leave a node when
 * it is not ready, the others when it refuses. What a node provably did not begin is tried elsewhere; any other failure is one.
 */
export type DrainLoad = {
  /** Waits until so many more calls have succeeded at each client. */
  more(calls: number): Promise<void>
  /** Ends all clients; answers what failed. */
  stop(): Promise<readonly string[]>
}

export async function startDrainLoad(nodes: readonly LocalNode[]): Promise<DrainLoad> {
  const clients = nodes.flatMap((node, at) =>
    [0, 1, 2, 3].map((n) => new LoadClient({ nodes, first: at, name: `${node.id}/${n}`, asksReady: n % 2 === 0 })),
  )
  const more = async (calls: number): Promise<void> => {
    const from = clients.map((client) => client.done)
    const isDone = (): boolean =>
      clients.every((client, at) => client.failures.length > 0 || client.done >= (from[at] ?? 0) + calls)
    await waitFor(() => `${calls} more calls: ${clients.map((client) => client.done).join(' ')}`, isDone, 30_000)
  }
  await more(2)
  return {
    more,
    async stop() {
      await Promise.all(clients.map((client) => client.stop()))
      return clients.flatMap((client) => client.failures)
    },
  }
}

class LoadClient {
  done = 0
  readonly failures: string[] = []
  readonly #options: LoadOptions
  #at: number
  #session = ''
  #isStopped = false
  readonly #running: Promise<void>

  constructor(options: LoadOptions) {
    this.#options = options
    this.#at = options.first
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#running
  }

  async #run(): Promise<void> {
    const { asksReady, name } = this.#options
    try {
      for (let n = 0; !this.#isStopped; n += 1) {
        if (asksReady && n % 3 === 0 && !(await this.#isReady())) this.#leave()
        if (this.#session === '' && !(await this.#open())) continue
        await this.#call(n)
      }
    } catch (error) {
      this.failures.push(`${name} at ${this.#node.id}: ${String(error)}`)
    }
  }

  get #node(): LocalNode {
    const { nodes } = this.#options
    const node = nodes[this.#at % nodes.length]
    if (node === undefined) throw new Error('there are no nodes')
    return node
  }

  #leave(): void {
    this.#session = ''
    this.#at += 1
  }

  async #isReady(): Promise<boolean> {
    const response = await fetch(`${this.#node.url}/readyz`).catch(() => null)
    await response?.text()
    return response?.status === 200
  }

  async #open(): Promise<boolean> {
    const opened = await openSession(this.#node.mcpUrl).catch((error: unknown) => {
      if (isRefused(error)) return null
      throw error
    })
    if (opened?.status === 200) this.#session = opened.session
    else this.#leave()
    if (opened !== null && opened.status !== 200 && opened.status !== 503)
      throw new Error(`initialize: ${opened.status}`)
    return this.#session !== ''
  }

  async #call(n: number): Promise<void> {
    const tool = n % 2 === 0 ? 'slow__count' : 'web__count'
    const answer = await callTool(this.#node.mcpUrl, this.#session, tool).catch((error: unknown) => {
      if (isRefused(error)) return null
      throw error
    })
    if (answer === null || answer.status === 503 || answer.status === 404) return this.#leave()
    if (answer.error !== undefined || answer.status !== 200)
      throw new Error(`${tool}: ${answer.status} ${JSON.stringify(answer.error)}`)
    this.done += 1
  }
}

type LoadOptions = {
  readonly nodes: readonly LocalNode[]
  readonly first: number
  readonly name: string
  readonly asksReady: boolean
}

/** Nothing listens there: not a byte was sent. */
function isRefused(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED'
}

export type Opened = {
  readonly status: number
  readonly session: string
  readonly code: unknown
  readonly headers: Headers
}

export async function openSession(mcpUrl: string): Promise<Opened> {
  const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'load', version: '1' } }
  const { status, headers, body } = await post(mcpUrl, '', { id: 1, method: 'initialize', params })
  const code = (body.error?.data as { code?: unknown } | undefined)?.code
  return { status, session: headers.get('mcp-session-id') ?? '', code, headers }
}

/** 400 ms of work, or what never ends. */
export async function callTool(
  mcpUrl: string,
  session: string,
  name: string,
): Promise<{ readonly status: number; readonly error?: unknown }> {
  const params = { name, arguments: { steps: 2, delayMs: 200 } }
  const { status, body } = await post(mcpUrl, session, { id: 2, method: 'tools/call', params })
  return { status, ...(body.error === undefined ? {} : { error: body.error }) }
}

type Message = { readonly error?: { readonly code: number; readonly data?: unknown } }

/** On connections that are kept, as clients do. */
function post(
  mcpUrl: string,
  session: string,
  message: object,
): Promise<{ status: number; headers: Headers; body: Message }> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...(session === '' ? {} : { 'mcp-session-id': session }),
    }
    const sent = httpRequest(mcpUrl, { method: 'POST', headers }, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('error', reject)
      response.on('end', () => {
        const data = /^data: (.*)$/m.exec(text)?.[1] ?? text
        const headers = new Headers(response.headers as Record<string, string>)
        resolve({ status: response.statusCode ?? 0, headers, body: data === '' ? {} : (JSON.parse(data) as Message) })
      })
    })
    sent.on('error', reject)
    sent.end(JSON.stringify({ jsonrpc: '2.0', ...message }))
  })
}
