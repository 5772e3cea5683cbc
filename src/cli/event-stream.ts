/**
 * Server-Sent Events out of the bytes of an answer, as far as a node sends them: event, id and data; comments are left out.
 * What one event may hold is bounded.
 */
import { OperatingError } from '../vocabulary/operating-error.ts'

export type ServerEvent = { readonly event: string; readonly id: string; readonly data: string }

/** A key-value entry at its largest fits well. */
const eventLengthMax = 16 * 1024 * 1024

export async function* readEvents(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent, void, void> {
  const decoder = new TextDecoder()
  let rest = ''
  let fields = new Map<string, string>()
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') {
        if (fields.has('data')) yield eventOf(fields)
        fields = new Map()
      } else addLine(fields, line)
    }
    if (rest.length + (fields.get('data')?.length ?? 0) > eventLengthMax)
      throw new OperatingError('too-large', `an event of the stream is longer than ${eventLengthMax} characters`)
  }
}

function addLine(fields: Map<string, string>, line: string): void {
  const colon = line.indexOf(':')
  if (colon === 0) return
  const name = colon === -1 ? line : line.slice(0, colon)
  const value = colon === -1 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)
  const before = fields.get(name)
  fields.set(name, name === 'data' && before !== undefined ? `${before}\n${value}` : value)
}

function eventOf(fields: ReadonlyMap<string, string>): ServerEvent {
  return { event: fields.get('event') ?? 'message', id: fields.get('id') ?? '', data: fields.get('data') ?? '' }
}
