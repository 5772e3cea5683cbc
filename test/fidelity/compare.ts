/** How two transcripts of the same scenario may differ, and how they may not. */
import type { Line } from './scripted-client.ts'

/**
 * What differs between a direct client's transcript and one through the cluster, as lines to read; none when nothing
 * does. Where both have streams, each stream has the same messages in the same order. Where one has a single wire for
 * everything, the messages are the same, and those of each stream of the other stand in its order on that wire.
 */
export function differences(direct: readonly Line[], through: readonly Line[]): string[] {
  const one = byStream(direct)
  const two = byStream(through)
  if (isSingle(one) === isSingle(two)) {
    const streams = [...new Set([...one.keys(), ...two.keys()])].sort()
    return streams.flatMap((stream) => diffOf(stream, one.get(stream) ?? [], two.get(stream) ?? []))
  }
  const sorted = diffOf('all streams', textsOf(direct).sort(), textsOf(through).sort())
  if (sorted.length > 0) return sorted
  const [wire, streams] = isSingle(one) ? [textsOf(direct), two] : [textsOf(through), one]
  return [...streams].flatMap(([stream, texts]) =>
    standsIn(wire, texts) ? [] : [`stream ${stream} is in another order:`, ...texts, 'than on the wire:', ...wire],
  )
}

/** Whether the texts come in this order, with others between them. */
function standsIn(wire: readonly string[], texts: readonly string[]): boolean {
  let next = 0
  for (const text of wire) if (text === texts[next]) next += 1
  return next === texts.length
}

function byStream(lines: readonly Line[]): Map<string, string[]> {
  const streams = new Map<string, string[]>()
  for (const { stream, text } of lines) streams.set(stream, [...(streams.get(stream) ?? []), text])
  return streams
}

function isSingle(streams: ReadonlyMap<string, readonly string[]>): boolean {
  return streams.has('wire')
}

function textsOf(lines: readonly Line[]): string[] {
  return lines.map((line) => line.text)
}

function diffOf(stream: string, direct: readonly string[], through: readonly string[]): string[] {
  if (direct.length === through.length && direct.every((text, at) => text === through[at])) return []
  const told = (side: string, texts: readonly string[], others: readonly string[]): string[] =>
    texts.map((text) => `${others.includes(text) ? ' ' : '!'} ${side} ${text.length > 1500 ? shorten(text) : text}`)
  return [`stream ${stream}:`, ...told('direct ', direct, through), ...told('through', through, direct)]
}

function shorten(text: string): string {
  return `${text.slice(0, 700)}...(${text.length} characters)...${text.slice(-700)}`
}
