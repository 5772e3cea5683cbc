import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { answerInitialize, answerResult, listen, readMessage, sendEvent, type Message } from './raw-http-server.ts'

/**
 * A Streamable HTTP server written out: with or without sessions, with a GET stream, and with everything that it was sent on
 * record. A `tools/call` stays open until the test ends it.
 */
export type AskingServer = {
  readonly url: string
  /** By the name of the tool, the newest of each. */
  readonly calls: ReadonlyMap<string, OpenCall>
  /** What came but calls: method and what it names, with the session it came in. */
  readonly heard: readonly { readonly session: string | undefined; readonly what: string; readonly message: Message }[]
  /** Says something on every GET stream. */
  announce(message: object): void
  forget(): void
  close(): Promise<void>
}

export type OpenCall = {
  readonly session: string | undefined
  readonly id: Message['id']
  /** On the call's own stream. */
  send(message: object): void
  end(result?: object): void
  /** With an error. */
  fail(error: object): void
}

export async function startAskingServer(options: {
  hasSessions: boolean
  refusedLevel?: string
  /** Before an unsubscription is answered. */
  unsubscribed?: Promise<void>
}): Promise<AskingServer> {
  const sessions = new Set<string>()
  const calls = new Map<string, OpenCall>()
  const heard: { session: string | undefined; what: string; message: Message }[] = []
  const streams = new Set<ServerResponse>()

  const listenTo = (response: ServerResponse): void => {
    sendEvent(response)
    streams.add(response)
    response.on('close', () => streams.delete(response))
  }

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<unknown> => {
    const message = await readMessage(request)
    const { id, method, params } = message
    const session = request.headers['mcp-session-id'] as string | undefined
    if (method === 'initialize') {
      if (options.hasSessions) {
        const opened = randomUUID()
        sessions.add(opened)
        response.setHeader('mcp-session-id', opened)
        heard.push({ session: opened, what: 'initialize', message })
      } else heard.push({ session: undefined, what: 'initialize', message })
      return answerInitialize(response, id, { logging: {}, resources: { subscribe: true } })
    }
    if (options.hasSessions && !sessions.has(session ?? '')) return response.writeHead(404).end()
    if (request.method === 'DELETE') {
      heard.push({ session, what: 'DELETE', message })
      sessions.delete(session ?? '')
      return response.writeHead(200).end()
    }
    if (request.method === 'GET') return listenTo(response)
    if (method === 'tools/call') {
      const call: OpenCall = {
        session,
        id,
        send: (sent) => sendEvent(response, sent),
        end: (result = {}) => {
          sendEvent(response, { id, result })
          response.end()
        },
        fail: (error) => {
          sendEvent(response, { id, error })
          response.end()
        },
      }
      calls.set(params?.name ?? '', call)
      return sendEvent(response)
    }
    const named = params as { readonly level?: string; readonly uri?: string } | undefined
    const what = [method ?? 'answer', named?.level ?? named?.uri ?? ''].join(' ').trim()
    heard.push({ session, what, message })
    if (id === undefined || method === undefined) return response.writeHead(202).end()
    if (method === 'logging/setLevel' && named?.level === options.refusedLevel) {
      const refusal = { jsonrpc: '2.0', id, error: { code: -32_602, message: 'not that level' } }
      return response.setHeader('content-type', 'application/json').end(JSON.stringify(refusal))
    }
    if (method === 'resources/unsubscribe' && options.unsubscribed !== undefined) {
      await options.unsubscribed
      heard.push({ session, what: `${what} is done`, message })
    }
    const list = /^resources\/(templates\/)?list$/.exec(method ?? '')
    if (list !== null)
      return answerResult(response, id, { [list[1] === undefined ? 'resources' : 'resourceTemplates']: [] })
    return answerResult(response, id, {})
  }

  const { url, close } = await listen((request, response) => void answer(request, response))
  return {
    url,
    calls,
    heard,
    announce: (message) => {
      for (const stream of streams) sendEvent(stream, message)
    },
    forget: () => {
      sessions.clear()
      for (const stream of streams) stream.end()
    },
    close,
  }
}
