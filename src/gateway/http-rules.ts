import type { IncomingMessage } from 'node:http'
import { legacyVersions } from './initializing.ts'
import type { Refusal } from './refusal.ts'

/** What the protocol demands of the headers of its HTTP requests. */

/** Of a POST; undefined: nothing is wrong. */
export function refusalOfHeaders(req: IncomingMessage): Refusal | undefined {
  const refusal = refusalOfContent(req)
  if (refusal !== undefined) return refusal
  if (!accepts(req, 'application/json') || !accepts(req, 'text/event-stream'))
    return { status: 406, message: 'Accept must list application/json and text/event-stream' }
  return undefined
}

/** Of a POST whose answer comes otherwise. */
export function refusalOfContent(req: IncomingMessage): Refusal | undefined {
  if (!jsonContent.test(req.headers['content-type'] ?? ''))
    return { status: 415, message: 'Content-Type must be application/json' }
  const encoding = req.headers['content-encoding']
  if (encoding !== undefined && encoding !== 'identity')
    return { status: 415, message: 'the body must have no Content-Encoding' }
  return undefined
}

/** Of everything after initialize. */
export function refusalOfVersion(req: IncomingMessage): Refusal | undefined {
  const version = req.headers['mcp-protocol-version']
  if (version === undefined || legacyVersions.includes(String(version))) return undefined
  return { status: 400, message: `MCP-Protocol-Version is not one of ${legacyVersions.join(', ')}` }
}

export function accepts(req: IncomingMessage, mediaType: keyof typeof listed): boolean {
  return listed[mediaType].test(req.headers.accept ?? '')
}

const jsonContent = /^\s*application\/json\s*(?:;|$)/i

/** With or without parameters. */
const listed = {
  'application/json': /(?:^|,)\s*application\/json\s*(?:[;,]|$)/i,
  'text/event-stream': /(?:^|,)\s*text\/event-stream\s*(?:[;,]|$)/i,
}
