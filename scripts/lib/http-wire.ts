/**
 * The cheapest HTTP/1.1 client there is: one keep-alive socket, one request at a time, already encoded. It reads just
 * enough of an answer to know its status and where it ends, so that a measurement measures the server.
 */
import { connect, type Socket } from 'node:net'
import type { WireConnection } from './kv-wire.ts'

const headEnd = Buffer.from('\r\n\r\n')
const lengthName = 'content-length: '

export class HttpConnection implements WireConnection {
  readonly #socket: Socket
  #done: ((failure: string | null) => void) | null = null
  #unread: Buffer | null = null

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (bytes: Buffer) => this.#receive(bytes))
    socket.on('error', (error) => this.#settle(error.message))
    socket.on('close', () => this.#settle('the connection closed'))
  }

  static open(host: string, port: number): Promise<HttpConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port, noDelay: true }, () => resolve(new HttpConnection(socket)))
      socket.once('error', reject)
    })
  }

  send(request: Buffer, done: (failure: string | null) => void): void {
    this.#done = done
    this.#socket.write(request)
  }

  close(): void {
    this.#socket.destroy()
  }

  #receive(bytes: Buffer): void {
    const all = this.#unread === null ? bytes : Buffer.concat([this.#unread, bytes])
    const head = all.indexOf(headEnd)
    if (head === -1) return void (this.#unread = all)
    const text = all.toString('latin1', 0, head + 2).toLowerCase()
    const at = text.indexOf(lengthName)
    if (at === -1) return this.#settle('the answer has no content-length')
    const length = Number(text.slice(at + lengthName.length, text.indexOf('\r', at)))
    if (all.length < head + headEnd.length + length) return void (this.#unread = all)
    this.#unread = null
    const status = text.slice(9, 12)
    this.#settle(status === '200' ? null : `${status} ${all.toString('utf8', head + 4, head + 304)}`)
  }

  #settle(failure: string | null): void {
    const done = this.#done
    this.#done = null
    done?.(failure)
  }
}
