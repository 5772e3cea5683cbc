import { describe, expect, it } from 'vitest'
import type { Takes } from '../../src/gateway/gateway-options.ts'
import { waitFor } from '../wait.ts'
import {
  echo,
  eventsOf,
  initializeText,
  mcpHeaders,
  openSession,
  request,
  startGateway,
  toolCall,
} from './gateway-under-test.ts'

const call = toolCall({ id: '7', tool: 'files__read' })
const draining = {
  error: { code: -31_001, data: { code: 'draining', retry: 'elsewhere', retryAfterMs: 1000 } },
}

describe('a node that drains', () => {
  it.each<[Takes, string, number, number]>([
    ['everything', 'initialize', 200, 200],
    ['known-sessions', 'initialize', 503, 200],
    ['endings', 'initialize', 503, 503],
    ['nothing', 'initialize', 503, 503],
  ])('and takes %s answers initialize and a call of a session', async (takes, _, opening, calling) => {
    const { url, take } = await startGateway({ perform: echo })
    const session = await openSession(url)
    take(takes)
    const opened = await fetch(url, { method: 'POST', headers: mcpHeaders, body: initializeText() })
    const called = await session.post(call)
    expect([opened.status, called.status]).toEqual([opening, calling])
    for (const refused of [opened, called].filter(({ status }) => status === 503)) {
      expect([refused.headers.get('retry-after'), refused.headers.get('connection')]).toEqual(['1', 'close'])
      expect(await refused.json()).toMatchObject(draining)
    }
  })

  it('lets a call be cancelled and a session be ended to the last', async () => {
    const { url, take, calls } = await startGateway()
    const session = await openSession(url)
    const called = session.post(call)
    await waitFor('the call', () => calls.length === 1)
    take('endings')
    const cancel = '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}'
    expect((await session.post(cancel)).status).toBe(202)
    await called
    expect(calls[0]?.signal.aborted).toBe(true)
    expect((await session.listen()).status).toBe(503)
    const ended = await fetch(url, { method: 'DELETE', headers: { 'Mcp-Session-Id': session.id } })
    expect(ended.status).toBe(204)
  })

  it('answers what is in work as of unknown outcome when its sessions are abandoned, and serves them on after it', async () => {
    const { url, gateway, calls } = await startGateway()
    const session = await openSession(url)
    const called = session.post(call)
    const stream = await session.listen()
    await waitFor('the call', () => calls.length === 1)
    gateway.abandonSessions()
    expect(await (await called).json()).toMatchObject({ error: { code: -31_003, data: { retry: 'outcome-unknown' } } })
    expect(eventsOf(await stream.text())).toEqual([])
    expect((await session.post(request('8', 'ping'))).status).toBe(200)
  })
})
