/**
 * JSON as text that is cut and spliced, never parsed and printed again, so that what passes through keeps every byte
 * that nobody had to change: big integers, unknown members, order, escapes.
 *
 * Every function takes text that JSON.parse has accepted before (the edge does that once); on such text none throws.
 */
declare const brand: unique symbol
export type JsonText = string & { readonly [brand]: 'JsonText' }

/** A value's place in its text: [start, end). */
export type JsonRange = { readonly start: number; readonly end: number }

export type JsonEdit = JsonRange & { readonly text: string }

export function toJsonText(value: unknown): JsonText {
  return JSON.stringify(value) as JsonText
}

/** Marks text as JSON. The caller has seen JSON.parse accept it. */
export function asJsonText(text: string): JsonText {
  return text as JsonText
}

/**
 * The members of the object that begins at or after `from`; empty when the value there is no object. Of a name that
 * stands twice the last counts, as in JSON.parse.
 */
export function jsonMembers(text: string, from = 0): Map<string, JsonRange> {
  const members = new Map<string, JsonRange>()
  let at = skipSpace(text, from)
  if (text.charCodeAt(at) !== openBrace) return members
  at = skipSpace(text, at + 1)
  while (at < text.length && text.charCodeAt(at) !== closeBrace) {
    const nameEnd = skipString(text, at)
    const rawName = text.slice(at + 1, nameEnd - 1)
    const name = rawName.includes('\\') ? (JSON.parse(`"${rawName}"`) as string) : rawName
    const start = skipSpace(text, skipSpace(text, nameEnd) + 1)
    const end = skipValue(text, start)
    members.set(name, { start, end })
    at = skipSpace(text, end)
    if (text.charCodeAt(at) === comma) at = skipSpace(text, at + 1)
  }
  return members
}

/** The elements of the array that begins at or after `from`; empty when the value there is no array. */
export function jsonElements(text: string, from = 0): JsonRange[] {
  const elements: JsonRange[] = []
  let at = skipSpace(text, from)
  if (text.charCodeAt(at) !== openBracket) return elements
  at = skipSpace(text, at + 1)
  while (at < text.length && text.charCodeAt(at) !== closeBracket) {
    const end = skipValue(text, at)
    elements.push({ start: at, end })
    at = skipSpace(text, end)
    if (text.charCodeAt(at) === comma) at = skipSpace(text, at + 1)
  }
  return elements
}

export function sliceJson(text: string, range: JsonRange): JsonText {
  return text.slice(range.start, range.end) as JsonText
}

/** With another value in that place. */
export function replaceJson(text: string, { start, end }: JsonRange, value: string): JsonText {
  return (text.slice(0, start) + value + text.slice(end)) as JsonText
}

/** Applies the edits, which must not overlap; their order does not matter. */
export function editJson(text: string, edits: readonly JsonEdit[]): JsonText {
  let result = ''
  let at = 0
  for (const edit of [...edits].sort((a, b) => a.start - b.start)) {
    result += text.slice(at, edit.start) + edit.text
    at = edit.end
  }
  return (result + text.slice(at)) as JsonText
}

/** The object with the member, in its place where it had one, else as the last. */
export function withJsonMember(object: JsonText, name: string, value: JsonText): JsonText {
  const members = jsonMembers(object)
  const range = members.get(name)
  if (range !== undefined) return replaceJson(object, range, value)
  const end = object.lastIndexOf('}')
  const comma = members.size === 0 ? '' : ','
  return editJson(object, [{ start: end, end, text: `${comma}${JSON.stringify(name)}:${value}` }])
}

const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d
const quote = 0x22
const backslash = 0x5c
const comma = 0x2c

function skipSpace(text: string, from: number): number {
  let at = from
  for (;;) {
    const code = text.charCodeAt(at)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return at
    at += 1
  }
}

/** `from` is at the opening quote; the result is behind the closing one. */
function skipString(text: string, from: number): number {
  let at = from + 1
  for (;;) {
    const end = text.indexOf('"', at)
    if (end === -1) return text.length
    let slashes = 0
    while (text.charCodeAt(end - 1 - slashes) === backslash) slashes += 1
    if (slashes % 2 === 0) return end + 1
    at = end + 1
  }
}

function skipValue(text: string, from: number): number {
  const first = text.charCodeAt(from)
  if (first === quote) return skipString(text, from)
  if (first !== openBrace && first !== openBracket) return skipScalar(text, from)
  let depth = 0
  let at = from
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (code === quote) {
      at = skipString(text, at)
      continue
    }
    if (code === openBrace || code === openBracket) depth += 1
    else if (code === closeBrace || code === closeBracket) depth -= 1
    at += 1
    if (depth === 0) return at
  }
  return text.length
}

function skipScalar(text: string, from: number): number {
  let at = from
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (code === comma || code === closeBrace || code === closeBracket || code <= 0x20) return at
    at += 1
  }
  return at
}
