import { describe, expect, it } from 'vitest'
import { echo, initializeText, mcpHeaders, request, startGateway, toolCall } from './gateway-under-test.ts'

const listed = 'https://console.example'

function preflight(url: string, origin: string, method = 'POST'): Promise<Response> {
  return fetch(url, {
    method: 'OPTIONS',
    headers: {
      Origin: origin,
      'Access-Control-Request-Method': method,
      'Access-Control-Request-Headers': 'content-type,mcp-session-id,mcp-protocol-version',
    },
  })
}

describe('a page of an origin that the operator listed', () => {
  it.each(['', '/files', '/nobody'])('may ask what it may do at /mcp%s, and then do it', async (path) => {
    const { url } = await startGateway()
    const allowed = await preflight(`${url}${path}`, listed)
    expect(allowed.status).toBe(204)
    expect(allowed.headers.get('access-control-allow-origin')).toBe(listed)
    expect(allowed.headers.get('access-control-allow-methods')).toBe('GET, POST, DELETE')
    const headers = allowed.headers.get('access-control-allow-headers')?.toLowerCase().split(', ')
    expect(headers).toEqual(
      expect.arrayContaining(['content-type', 'accept', 'mcp-session-id', 'mcp-protocol-version', 'last-event-id']),
    )
  })

  it('reads answers, errors and streams, and the session’s id', async () => {
    const { url } = await startGateway({ perform: echo })
    const headers = { ...mcpHeaders, Origin: listed }
    const opened = await fetch(url, { method: 'POST', headers, body: initializeText() })
    const session = { ...headers, 'Mcp-Session-Id': opened.headers.get('mcp-session-id') ?? '' }
    const streamed = await fetch(url, {
      method: 'POST',
      headers: session,
      body: toolCall({ id: '1', tool: 'files__read', meta: '{"progressToken":1}' }),
    })
    expect(streamed.headers.get('content-type')).toBe('text/event-stream')
    const refused = await fetch(url, { method: 'POST', headers, body: request('1', 'ping') })
    expect(refused.status).toBe(400)
    for (const response of [opened, streamed, refused]) {
      expect(response.headers.get('access-control-allow-origin')).toBe(listed)
      expect(response.headers.get('access-control-expose-headers')).toContain('Mcp-Session-Id')
      expect(response.headers.get('vary')).toBe('Origin')
      await response.text()
    }
  })
})

describe('a page of another origin', () => {
  it.each([
    ['https://evil.example', 403],
    ['null', 403],
    ['http://localhost:8080', 405],
  ])('%s may nothing', async (origin, status) => {
    const { url } = await startGateway()
    const response = await preflight(url, origin)
    expect(response.status).toBe(status)
    expect(response.headers.get('access-control-allow-origin')).toBeNull()
    const answered = await fetch(url, {
      method: 'POST',
      headers: { ...mcpHeaders, Origin: origin },
      body: initializeText(),
    })
    expect(answered.headers.get('access-control-allow-origin')).toBeNull()
  })
})

describe('OPTIONS that ask for nothing', () => {
  it('are a method that is not there', async () => {
    const { url } = await startGateway()
    const response = await fetch(url, { method: 'OPTIONS', headers: { Origin: listed } })
    expect(response.status).toBe(405)
  })
})
