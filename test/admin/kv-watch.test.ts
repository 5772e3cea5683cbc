import { request } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import type { KvEventView, KvWatchView } from '../../src/admin/needs.ts'
import { deferred } from '../../src/std/deferred.ts'
import type { Deferred } from '../../src/std/deferred.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'
import { startAdmin } from './scripted.ts'
import type { Running } from './scripted.ts'

let admin: Running | undefined
afterEach(async () => {
  await admin?.stop()
  admin = undefined
})

/** A watch that tells what the test gives it. */
class GivenWatch implements KvWatchView {
  next = 5
  closed = 0
  taken = 0
  #queue: (readonly KvEventView[] | Error)[] = []
  #waiting: Deferred<void> | null = null

  give(events: readonly KvEventView[] | Error): void {
    this.#queue.push(events)
    this.#waiting?.resolve()
  }

  async take(): Promise<readonly KvEventView[]> {
    while (this.closed === 0) {
      const given = this.#queue.shift()
      if (given instanceof Error) throw given
      if (given !== undefined) {
        this.taken += 1
        this.next = (given.at(-1)?.revision ?? 0) + 1
        return given
      }
      this.#waiting = deferred()
      await this.#waiting.promise
    }
    return []
  }

  close(): void {
    this.closed += 1
    this.#waiting?.resolve()
  }
}

type Stream = {
  status: number
  headers: IncomingHttpHeaders
  text: () => string
  ended: () => boolean
  cut: () => void
}

function listen(path: string, headers: Record<string, string> = {}): Promise<Stream> {
  const port = admin?.port ?? 0
  return new Promise((resolve, reject) => {
    let text = ''
    let ended = false
    const req = request({ host: '127.0.0.1', port, path, headers, agent: false }, (res) => {
      res.on('data', (chunk: Buffer) => (text += chunk.toString()))
      res.on('end', () => (ended = true))
      res.on('error', () => (ended = true))
      const { statusCode = 0, headers } = res
      resolve({ status: statusCode, headers, text: () => text, ended: () => ended, cut: () => req.destroy() })
    })
    req.on('error', reject)
    req.end()
  })
}

async function startWatch(): Promise<{ watch: GivenWatch; asked: unknown[] }> {
  const watch = new GivenWatch()
  const asked: unknown[] = []
  admin = await startAdmin({
    kv: {
      watch: (options) => {
        asked.push(options)
        return watch
      },
    },
  })
  return { watch, asked }
}

const put = (key: string, value: string, revision: number): KvEventView => ({
  kind: 'put',
  key,
  value: asJsonText(value),
  revision,
})

describe('GET /v1/kv?watch=', () => {
  it('tells where it begins, then each change with its revision as id', async () => {
    const { watch, asked } = await startWatch()
    const stream = await listen('/v1/kv?watch=a%2F*&from=5')
    expect(stream.status).toBe(200)
    expect(stream.headers).toMatchObject({ 'content-type': 'text/event-stream', 'x-content-type-options': 'nosniff' })
    expect(asked).toEqual([{ pattern: 'a/*', from: 5 }])
    watch.give([put('a/"1"', '{"x": 1.0}', 6), { kind: 'delete', key: 'a/2', revision: 8 }])
    watch.give([put('a/3', '{\r\n"b":\n[1,\r2]}', 9)])
    await waitFor('three changes', () => stream.text().includes('id: 9'))
    expect(stream.text()).toBe(
      [
        'event: open\ndata: {"revision":5}\n\n',
        'id: 6\nevent: put\ndata: {"key":"a/\\"1\\"","value":{"x": 1.0},"revision":6}\n\n',
        'id: 8\nevent: delete\ndata: {"key":"a/2","revision":8}\n\n',
        'id: 9\nevent: put\ndata: {"key":"a/3","value":{\ndata: "b":\ndata: [1,\ndata: 2]},"revision":9}\n\n',
      ].join(''),
    )
    stream.cut()
    await waitFor('the watch to be closed', () => watch.closed > 0)
  })

  it('goes on behind Last-Event-ID, whatever from says', async () => {
    const { asked } = await startWatch()
    const streams = [
      await listen('/v1/kv?watch=*&from=5', { 'Last-Event-ID': '41' }),
      await listen('/v1/kv?watch=*', { 'Last-Event-ID': '0' }),
      await listen('/v1/kv?watch=*'),
    ]
    expect(asked).toEqual([
      { pattern: '*', from: 42 },
      { pattern: '*', from: 1 },
      { pattern: '*', from: null },
    ])
    for (const stream of streams) stream.cut()
  })

  it.each([
    '?watch=*&from=0',
    '?watch=*&from=x',
    '?watch=*&from=',
    '?watch=*&from=99999999999999999',
    '?watch=*&prefix=a',
    '?watch=*&limit=1',
    '?watch=*&consistency=stale',
    '?watch=*&watch=a',
    '?from=1',
  ])('refuses %s', async (query) => {
    admin = await startAdmin()
    expect(await admin.send({ path: `/v1/kv${query}` })).toMatchObject({
      status: 400,
      json: { error: { code: 'bad-request' } },
    })
  })

  it('answers 410 with the revision to begin from when the history does not go back so far', async () => {
    admin = await startAdmin({
      kv: {
        watch: () => {
          throw new OperatingError('compacted', 'watch: gone', { details: { revision: 77 } })
        },
      },
    })
    expect(await admin.send({ path: '/v1/kv?watch=*&from=5' })).toMatchObject({
      status: 410,
      json: { error: { code: 'compacted', retry: 'never', details: { revision: 77 } } },
    })
  })

  it('ends with an error event when it can not go on', async () => {
    const { watch } = await startWatch()
    const stream = await listen('/v1/kv?watch=*')
    watch.give(new OperatingError('compacted', 'watch: gone', { details: { revision: 77 } }))
    await waitFor('the end', () => stream.ended())
    expect(stream.text()).toMatch(/event: error\ndata: \{"error":\{"code":"compacted".*"details":\{"revision":77\}/)
    expect(watch.closed).toBeGreaterThan(0)
  })

  it('masks an accident in its error event, and logs it', async () => {
    const { watch } = await startWatch()
    const stream = await listen('/v1/kv?watch=*')
    watch.give(new TypeError('secret inner words'))
    await waitFor('the end', () => stream.ended())
    expect(stream.text()).not.toContain('secret inner words')
    expect(stream.text()).toContain('"code":"internal"')
    expect(admin?.lines.map((line) => line.event)).toContain('admin-accident')
  })

  it('takes nothing more for a client that does not read, until it does', async () => {
    const { watch } = await startWatch()
    const socket = connect(admin?.port ?? 0, '127.0.0.1')
    socket.write('GET /v1/kv?watch=* HTTP/1.1\r\nHost: localhost\r\n\r\n')
    socket.pause()
    const large = `"${'x'.repeat(200_000)}"`
    for (let revision = 5; revision < 205; revision += 1) watch.give([put('a', large, revision)])
    let before = -1
    await waitFor('the sender to rest', async () => {
      const rested = watch.taken > 0 && watch.taken === before
      before = watch.taken
      await new Promise((resolve) => setTimeout(resolve, 200))
      return rested && watch.taken === before
    })
    expect(watch.taken).toBeLessThan(200)
    socket.resume()
    await waitFor('all to be taken', () => watch.taken === 200)
    socket.destroy()
  })

  it('answers HEAD with its headers alone', async () => {
    const { watch } = await startWatch()
    const answer = await admin?.send({ method: 'HEAD', path: '/v1/kv?watch=*' })
    expect(answer).toMatchObject({ status: 200, text: '', headers: { 'content-type': 'text/event-stream' } })
    expect(watch.closed).toBeGreaterThan(0)
  })
})
