/**
 * What the same parts can do without Raft: the HTTP server, a WebSocket to each of two others, and synced LevelDB
 * batches that take all that has come meanwhile. A write is answered when two of three have it on the disk. No terms, no
 * checks, no state: what a node of ours is measured against.
 *
 * `ceiling.ts FOLDER HTTP_PORT WS_PORT` serves WebSockets; with the ports of the others behind it, HTTP as well.
 */
import { createServer, type ServerResponse } from 'node:http'
import { Level } from 'level'
import { WebSocket, WebSocketServer } from 'ws'

const [folder = '', httpPort = '', wsPort = '', ...others] = process.argv.slice(2)
const db = new Level<Uint8Array, Uint8Array>(folder, { keyEncoding: 'view', valueEncoding: 'view', compression: false })
const majority = 2

type Write = { key: string; value: Buffer; response: ServerResponse }
type Batch = { readonly writes: readonly Write[]; copies: number }

let lastIndex = 0

/** Writes what it is given in turn, all that waits as one batch. */
class Disk {
  readonly #waiting: { readonly values: readonly Uint8Array[]; readonly done: () => void }[] = []
  #isWriting = false

  get isIdle(): boolean {
    return !this.#isWriting
  }

  write(values: readonly Uint8Array[], done: () => void): void {
    this.#waiting.push({ values, done })
    if (!this.#isWriting) void this.#run()
  }

  async #run(): Promise<void> {
    this.#isWriting = true
    while (this.#waiting.length > 0) {
      const taken = this.#waiting.splice(0)
      const operations = taken.flatMap(({ values }) =>
        values.map((value) => ({ type: 'put' as const, key: logKey((lastIndex += 1)), value })),
      )
      await db.batch(operations, { sync: true })
      if (this.#waiting.length === 0) this.#isWriting = false
      for (const { done } of taken) done()
    }
    this.#isWriting = false
  }
}

function logKey(index: number): Uint8Array {
  const key = Buffer.allocUnsafe(9)
  key[0] = 2
  key.writeBigUInt64BE(BigInt(index), 1)
  return key
}

/** The leader: one batch goes out whenever the disk is free, with all writes that have come until then. */
class Leader {
  readonly #disk: Disk
  readonly #links: readonly WebSocket[]
  readonly #state = new Map<string, Buffer>()
  /** By number; the first is the oldest that not all have. */
  readonly #batches = new Map<number, Batch>()
  #gathered: Write[] = []
  #count = 0
  #isDue = false

  constructor(disk: Disk, links: readonly WebSocket[]) {
    this.#disk = disk
    this.#links = links
    for (const link of links) link.on('message', (bytes: Buffer) => this.#acknowledged(bytes.readUInt32BE(0)))
  }

  put(write: Write): void {
    this.#gathered.push(write)
    if (this.#isDue || !this.#disk.isIdle) return
    this.#isDue = true
    setImmediate(() => this.#begin())
  }

  get(key: string, response: ServerResponse): void {
    const value = this.#state.get(key) ?? Buffer.from('null')
    answer(response, `{"key":${JSON.stringify(key)},"value":${value.toString()},"revision":1}`)
  }

  #begin(): void {
    this.#isDue = false
    const writes = this.#gathered
    if (writes.length === 0) return
    this.#gathered = []
    const number = (this.#count += 1)
    this.#batches.set(number, { writes, copies: 0 })
    const head = Buffer.alloc(4)
    head.writeUInt32BE(number)
    const parts = writes.flatMap(({ value }) => {
      const length = Buffer.allocUnsafe(4)
      length.writeUInt32BE(value.length)
      return [length, value]
    })
    const frame = Buffer.concat([head, ...parts])
    for (const link of this.#links) link.send(frame, { binary: true, compress: false })
    this.#disk.write(
      writes.map(({ value }) => value),
      () => {
        this.#acknowledged(number)
        this.#begin()
      },
    )
  }

  #acknowledged(number: number): void {
    const batch = this.#batches.get(number)
    if (batch === undefined) return
    batch.copies += 1
    if (batch.copies === this.#links.length + 1) this.#batches.delete(number)
    if (batch.copies !== majority) return
    for (const { key, value, response } of batch.writes) {
      this.#state.set(key, value)
      answer(response, `{"key":${JSON.stringify(key)},"revision":${number}}`)
    }
  }
}

function answer(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }).end(text)
}

function follow(disk: Disk): Promise<void> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: Number(wsPort), perMessageDeflate: false })
  server.on('connection', (socket) => {
    socket.on('message', (frame: Buffer) => {
      const values: Buffer[] = []
      for (let at = 4; at < frame.length;) {
        const length = frame.readUInt32BE(at)
        values.push(frame.subarray(at + 4, at + 4 + length))
        at += 4 + length
      }
      disk.write(values, () => socket.send(frame.subarray(0, 4), { binary: true, compress: false }))
    })
  })
  return new Promise((resolve) => server.once('listening', resolve))
}

async function lead(disk: Disk): Promise<void> {
  const links = others.map((port) => new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: false }))
  await Promise.all(links.map((link) => new Promise((resolve) => link.once('open', resolve))))
  const leader = new Leader(disk, links)
  const server = createServer((request, response) => {
    const key = (request.url ?? '').split('?', 1)[0]?.slice('/v1/kv/'.length) ?? ''
    if (request.method === 'GET') return leader.get(key, response)
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => leader.put({ key, value: Buffer.concat(parts), response }))
  })
  server.keepAliveTimeout = 65_000
  await new Promise<void>((resolve) => server.listen(Number(httpPort), '127.0.0.1', resolve))
}

await db.open()
const disk = new Disk()
await (others.length === 0 ? follow(disk) : lead(disk))
process.send?.('listening')
process.on('disconnect', () => process.exit(0))
