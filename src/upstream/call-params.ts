import { jsonMembers, replaceJson, sliceJson, type JsonText } from '../std/json-text.ts'

/**
 * The one thing that changes in a client's params on their way down: `_meta.progressToken`. Clients choose equal
 * tokens, so each request carries its own id as token instead; every other byte stays.
 */
export function withProgressToken(params: JsonText, id: number): OwnParams {
  const members = jsonMembers(params)
  const meta = members.get('_meta')
  const range = meta === undefined ? undefined : jsonMembers(params, meta.start).get('progressToken')
  const wantsTask = members.has('task')
  if (range === undefined) return { params, token: null, wantsTask }
  return { params: replaceJson(params, range, String(id)), token: sliceJson(params, range), wantsTask }
}

export type OwnParams = {
  readonly params: JsonText
  /** The client's own; null: it has none. */
  readonly token: JsonText | null
  /** Whether the params ask for a task; they are read once. */
  readonly wantsTask: boolean
}

const namedBy = ['name', 'uri']
const nameLengthMax = 128

/** `tools/call add`: the method and what it is about, for messages. */
export function describeRequest(method: string, params: JsonText): string {
  const members = jsonMembers(params)
  for (const member of namedBy) {
    const range = members.get(member)
    if (range === undefined || params[range.start] !== '"') continue
    const name = JSON.parse(sliceJson(params, range)) as string
    return `${method} ${name.slice(0, nameLengthMax)}`
  }
  return method
}
