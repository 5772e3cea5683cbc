import type { ServerResponse } from 'node:http'

/** Server-Sent Events as text: the head of their answer, and one event. */
export function writeEventsHead(outgoing: ServerResponse): void {
  outgoing.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store, no-transform',
    'x-content-type-options': 'nosniff',
    'x-accel-buffering': 'no',
  })
}

/** A line break in JSON stands between tokens only, so it does not matter which one the client puts back. */
export function eventOf(event: string, { id, data }: { readonly id?: number; readonly data: string }): string {
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`)
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\n${lines.join('')}\n`
}

/** In silence a stream says so often that it lives. */
export const keepAliveMs = 15_000
