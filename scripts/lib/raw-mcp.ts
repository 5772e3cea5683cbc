/**
 * The smallest MCP client over Streamable HTTP: one session, raw undici, no schema. For load, where the SDK's own work
 * would be most of what is measured.
 */
import { Agent, request, type Dispatcher } from 'undici'

const requestMs = 30_000

export type RawSession = { readonly url: string; readonly id: string | null; readonly agent: Agent }

/** Connections are reused; as many as calls are made at once. */
export function createAgent(connections: number): Agent {
  return new Agent({ connections, pipelining: 1, headersTimeout: requestMs, bodyTimeout: requestMs })
}

export async function openSession(url: string, agent: Agent, signal?: AbortSignal): Promise<RawSession> {
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'load', version: '1.0.0' } }
  const opened = await post({ url, id: null, agent }, { jsonrpc: '2.0', id: 0, method: 'initialize', params }, signal)
  const text = await opened.body.text()
  if (opened.statusCode !== 200) throw new Error(`initialize at ${url}: ${opened.statusCode} ${text.slice(0, 200)}`)
  const header = opened.headers['mcp-session-id']
  const session = { url, id: typeof header === 'string' ? header : null, agent }
  const told = await post(session, { jsonrpc: '2.0', method: 'notifications/initialized' }, signal)
  await told.body.dump()
  return session
}

/** Calls a tool. Null when it went well; otherwise what was wrong. Never rejects. */
export async function callTool(
  session: RawSession,
  call: { id: number; name: string; arguments: object },
): Promise<string | null> {
  try {
    const params = { name: call.name, arguments: call.arguments }
    const response = await post(session, { jsonrpc: '2.0', id: call.id, method: 'tools/call', params })
    const text = await response.body.text()
    if (response.statusCode !== 200) return `${response.statusCode} ${text.slice(0, 200)}`
    // As JSON or as a stream of events: either way the answer is in the text.
    if (!text.includes('"result"')) return text.slice(0, 300)
    return /"isError"\s*:\s*true/.test(text) ? text.slice(0, 300) : null
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause)
  }
}

/** The server may forget it. One without an id has nothing to forget. */
export async function closeSession({ url, id, agent }: RawSession): Promise<void> {
  if (id === null) return
  const response = await request(url, { method: 'DELETE', dispatcher: agent, headers: { 'mcp-session-id': id } })
  await response.body.dump()
}

/** One message of the session, as it goes over HTTP. */
export function post(session: RawSession, message: object, signal?: AbortSignal): Promise<Dispatcher.ResponseData> {
  return request(session.url, {
    method: 'POST',
    dispatcher: session.agent,
    ...(signal === undefined ? {} : { signal }),
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-11-25',
      ...(session.id === null ? {} : { 'mcp-session-id': session.id }),
    },
    body: JSON.stringify(message),
  })
}
