import type { ServerResponse } from 'node:http'
import type { JsonText } from '../std/json-text.ts'

/** A whole response that is one JSON text: one write, with its length. */
export function sendJson(
  res: ServerResponse,
  body: JsonText,
  options: { readonly status?: number; readonly headers?: Readonly<Record<string, string>> } = {},
): void {
  const bytes = Buffer.from(body)
  res.writeHead(options.status ?? 200, {
    'Content-Type': 'application/json',
    'Content-Length': bytes.length,
    ...options.headers,
  })
  res.end(bytes)
}
