/** The smallest MCP client of a stdio server: one process, raw lines, calls matched by id. What a bridge is measured against. */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'

export type StdioCommand = { readonly command: string; readonly args: readonly string[] }

export class RawStdio {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #waiting = new Map<number, (line: string) => void>()
  #nextId = 0

  private constructor(command: StdioCommand) {
    this.#child = spawn(command.command, command.args, { stdio: ['pipe', 'pipe', 'inherit'] })
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const { id } = JSON.parse(line) as { id?: number }
      if (id === undefined) return
      this.#waiting.get(id)?.(line)
      this.#waiting.delete(id)
    })
  }

  static async open(command: StdioCommand): Promise<RawStdio> {
    const client = new RawStdio(command)
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'load', version: '1.0.0' } }
    await client.#request('initialize', params)
    client.#write({ method: 'notifications/initialized' })
    return client
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Null when it went well; otherwise what was wrong. */
  async call(name: string, input: object): Promise<string | null> {
    const line = await this.#request('tools/call', { name, arguments: input })
    return line.includes('"result"') ? null : line.slice(0, 300)
  }

  async close(): Promise<void> {
    const closed = once(this.#child, 'close')
    this.#child.stdin.end()
    await closed
  }

  #request(method: string, params: object): Promise<string> {
    this.#nextId += 1
    const id = this.#nextId
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve)
      this.#write({ id, method, params })
    })
  }

  #write(message: object): void {
    this.#child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)
  }
}
