import type { ServerResponse } from 'node:http'
import type { JsonText } from '../std/json-text.ts'

/** A whole response that is one JSON text: one write, with its length. */
export function sendJson(
  res: ServerResponse,
  body: JsonText,
  options: { readonly status?: number; readonly headers?: Readonly<Record<string, string>> } = {},
): void {
  const own = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }
  res.writeHead(options.status ?? 200, options.headers === undefined ? own : { ...own, ...options.headers })
  res.end(body)
}
