import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { deferred } from '../../src/std/deferred.ts'
import { parseAddress } from '../../src/vocabulary/addresses.ts'
import type { AnswerPost } from '../../src/transport/plain-posts.ts'
import { waitFor } from '../wait.ts'
import { closeStations, station } from './rig.ts'
import type { Station } from './rig.ts'
import { RawClient } from './strangers.ts'

// The one plain POST of a listener, over real sockets.
afterEach(closeStations)

type Times = { readonly answerMs?: number; readonly bodyMs?: number }

function listening(answer: AnswerPost, { answerMs = 3000, bodyMs = 3000 }: Times = {}): Promise<Station> {
  return station('n1', {}, { posts: { path: '/join', answer, answerMs }, handshakeTimeoutMs: bodyMs })
}

const echo: AnswerPost = ({ body }) => Promise.resolve({ status: 200, text: `{"bytes":${body.length}}` })

describe('a listener that takes a plain POST', () => {
  it('answers it as it is told, and everything else as before', async () => {
    const asked: string[] = []
    const { address } = await listening(({ body, from }) => {
      asked.push(`${Buffer.from(body).toString()} ${from.replace(/:\d+$/, '')}`)
      return Promise.resolve({ status: 403, text: '{"no":1}' })
    })
    const answer = await fetch(`http://${address}/join`, { method: 'POST', body: 'hello' })
    expect([answer.status, await answer.text(), answer.headers.get('connection')]).toEqual([403, '{"no":1}', 'close'])
    expect(asked).toEqual(['hello 127.0.0.1'])
    const others = [
      await fetch(`http://${address}/join`),
      await fetch(`http://${address}/join`, { method: 'PUT', body: 'x' }),
      await fetch(`http://${address}/join/`, { method: 'POST', body: 'x' }),
      await fetch(`http://${address}/`, { method: 'POST', body: 'x' }),
    ]
    expect(others.map(({ status }) => status)).toEqual([426, 426, 426, 426])
    expect((await new RawClient(address).open()).closedWith).toBeNull()
    const plain = await station('n2')
    expect((await fetch(`http://${plain.address}/join`, { method: 'POST', body: 'x' })).status).toBe(426)
  })

  it('reads 16 KiB of it and not more, whether or not it says before how much comes', async () => {
    const { address } = await listening(echo)
    const post = (bytes: number): Promise<Response> =>
      fetch(`http://${address}/join`, { method: 'POST', body: new Uint8Array(bytes) })
    expect(await (await post(16 * 1024)).json()).toEqual({ bytes: 16 * 1024 })
    expect((await post(16 * 1024 + 1)).status).toBe(413)
    const chunked = new RawPost(address, 'Transfer-Encoding: chunked')
    chunked.socket.write(`5000\r\n${'x'.repeat(0x5000)}\r\n`)
    expect(await chunked.answer()).toContain('HTTP/1.1 413')
  })

  it('takes eight at a time; one more is told to try again, and comes in when one is done', async () => {
    const held = Array.from({ length: 9 }, () => deferred<void>())
    let asked = 0
    const { address } = await listening(async ({ body }) => {
      const place = held[asked]
      asked += 1
      await place?.promise
      return echo({ body, from: '', signal: new AbortController().signal })
    })
    const post = (): Promise<number> =>
      fetch(`http://${address}/join`, { method: 'POST', body: 'x' }).then(({ status }) => status)
    const eight = Array.from({ length: 8 }, post)
    await waitFor('eight to be under way', () => asked === 8)
    expect(await post()).toBe(429)
    held[0]?.resolve()
    expect(await Promise.race(eight)).toBe(200)
    held[8]?.resolve()
    await waitFor('a place', async () => (await post()) === 200)
    for (const each of held) each.resolve()
    expect(new Set(await Promise.all(eight))).toEqual(new Set([200]))
  })

  it('ends who sends its body too slowly, and answers in time when nobody else does', async () => {
    const signals: AbortSignal[] = []
    const never: AnswerPost = ({ signal }) => {
      signals.push(signal)
      return new Promise(() => undefined)
    }
    const patient = await listening(never, { bodyMs: 100 })
    const slow = new RawPost(patient.address, 'Content-Length: 100')
    slow.socket.write('only this')
    expect(await slow.answer()).toBe('')
    expect(signals).toEqual([])
    const { address } = await listening(never, { answerMs: 100, bodyMs: 60_000 })
    const waiting = await fetch(`http://${address}/join`, { method: 'POST', body: 'x' })
    expect(waiting.status).toBe(408)
    expect(signals.map(({ aborted }) => aborted)).toEqual([true])
  })

  it('keeps no place for those who do not say what they want', async () => {
    const { address } = await listening(echo)
    const idle = Array.from({ length: 12 }, () => new RawPost(address, 'Content-Length: 100'))
    for (const { socket } of idle) socket.write('only this')
    await Promise.all(
      idle.map(({ socket }) => waitFor('it to be sent', () => !socket.connecting && socket.bytesWritten > 50)),
    )
    for (let tries = 0; tries < 10; tries += 1) {
      expect((await fetch(`http://${address}/join`, { method: 'POST', body: 'x' })).status).toBe(200)
    }
    for (const { socket } of idle) socket.destroy()
  })

  it('is told when who asked goes away, and has room for others then', async () => {
    const signals: AbortSignal[] = []
    const { address } = await listening(({ signal }) => {
      signals.push(signal)
      return new Promise(() => undefined)
    })
    const posts = Array.from({ length: 8 }, () => new RawPost(address, 'Content-Length: 1'))
    for (const { socket } of posts) socket.write('x')
    await waitFor('eight to be under way', () => signals.length === 8)
    for (const { socket } of posts) socket.destroy()
    await waitFor('all to be told', () => signals.every(({ aborted }) => aborted))
    const more = new RawPost(address, 'Content-Length: 1')
    more.socket.write('x')
    await waitFor('another to be under way', () => signals.length === 9)
    more.socket.destroy()
  })
})

class RawPost {
  readonly socket: Socket
  #text = ''
  #isClosed = false

  constructor(address: string, header: string) {
    const { host, port } = parseAddress(address) ?? { host: '', port: 0 }
    this.socket = connect({ host, port })
    this.socket.on('data', (chunk: Buffer) => (this.#text += chunk.toString()))
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => (this.#isClosed = true))
    this.socket.write(`POST /join HTTP/1.1\r\nHost: x\r\n${header}\r\n\r\n`)
  }

  /** When the listener has ended the connection. */
  async answer(): Promise<string> {
    await waitFor('the listener to end it', () => this.#isClosed)
    return this.#text
  }
}
