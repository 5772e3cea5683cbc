import { editJson, jsonMembers, sliceJson, type JsonText } from '../std/json-text.ts'

/**
 * The one thing that changes in a client's params on their way down: `_meta.progressToken`. Clients choose equal
 * tokens, so each request carries its own id as token instead; every other byte stays.
 */
export function withProgressToken(params: JsonText, id: number): { params: JsonText; token: JsonText | null } {
  const meta = jsonMembers(params).get('_meta')
  const range = meta === undefined ? undefined : jsonMembers(params, meta.start).get('progressToken')
  if (range === undefined) return { params, token: null }
  return { params: editJson(params, [{ ...range, text: String(id) }]), token: sliceJson(params, range) }
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
