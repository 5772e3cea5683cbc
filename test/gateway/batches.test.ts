import { describe, expect, it } from 'vitest'
import { asJsonText } from '../../src/std/json-text.ts'
import { waitFor } from '../wait.ts'
import { initializeText, openSession, request, startGateway, toolCall } from './gateway-under-test.ts'

const echoed = asJsonText('{"a":1.0}')

describe('a batch', () => {
  const batch = `[${request('1', 'ping')},{"jsonrpc":"2.0","method":"notifications/roots/list_changed"},${toolCall({ id: '"1"', tool: 'files__read' })}]`

  it('is answered on one stream in revision 2025-03-26, each request once', async () => {
    const under = await startGateway()
    const session = await openSession(under.url, '2025-03-26')
    const response = await session.post(batch)
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    under.calls[0]?.notify({ method: 'notifications/message', params: echoed })
    under.calls[0]?.end({ kind: 'result', result: echoed })
    expect((await response.text()).split('\n').filter((line) => line.startsWith('data: '))).toEqual([
      'data: {"jsonrpc":"2.0","id":1,"result":{}}',
      'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"a":1.0}}',
      'data: {"jsonrpc":"2.0","id":"1","result":{"a":1.0}}',
    ])
    expect(under.calls[0]?.call.origin?.isKept).toBe(false)
    expect(under.words).toHaveLength(1)
  })

  it('ends with the client that goes away', async () => {
    const under = await startGateway()
    const session = await openSession(under.url, '2025-03-26')
    const response = await session.post(batch)
    await response.body?.cancel()
    await waitFor('its call to be cancelled', () => under.calls[0]?.signal.aborted)
    expect(under.gateway.counters()).toMatchObject({ clientsGone: 1 })
  })

  it('of what needs no answer is 202', async () => {
    const under = await startGateway()
    const session = await openSession(under.url, '2025-03-26')
    const response = await session.post(
      '[{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":"q","result":{}}]',
    )
    expect([response.status, await response.text(), under.words.length]).toEqual([202, '', 2])
  })

  it.each([
    ['2025-11-25', batch],
    ['2025-06-18', batch],
    ['2024-11-05', batch],
    ['2025-03-26', '[]'],
    ['2025-03-26', `[${request('1', 'ping')},7]`],
    ['2025-03-26', `[${initializeText()}]`],
    ['2025-03-26', `[${Array.from({ length: 101 }, () => request('1', 'ping')).join(',')}]`],
  ])('is refused in %s: %.40s', async (version, body) => {
    const under = await startGateway()
    const session = await openSession(under.url, version)
    const response = await session.post(body)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ id: null, error: { code: -32_600 } })
    expect([under.calls, under.words]).toEqual([[], []])
  })
})
