import { describe, expect, it } from 'vitest'
import { differences } from './compare.ts'
import type { Line } from './scripted-client.ts'

const line = (stream: string, text: string): Line => ({ stream, text })
const two = [line('call 1', 'a'), line('standalone', 'x'), line('call 1', 'b'), line('call 2', 'a')]
const onWire = (...texts: string[]): Line[] => texts.map((text) => line('wire', text))

describe('two transcripts', () => {
  it('are the same when every stream has the same messages in the same order', () => {
    const other = [line('call 2', 'a'), line('call 1', 'a'), line('call 1', 'b'), line('standalone', 'x')]
    expect(differences(two, other)).toEqual([])
  })

  it.each([
    ['one message more', [...two, line('standalone', 'x')]],
    ['one message less', two.slice(1)],
    ['another order', [line('call 1', 'b'), line('call 1', 'a'), line('standalone', 'x'), line('call 2', 'a')]],
    ['another stream', two.map(({ text }) => line('call 1', text))],
    ['another byte', two.map(({ stream, text }) => line(stream, text === 'x' ? 'x ' : text))],
  ])('differ by %s', (_how, other) => {
    expect(differences(two, other)).not.toEqual([])
    expect(differences(other, two)).not.toEqual([])
  })

  it('are the same when one has all on one wire, each stream in its order', () => {
    expect(differences(two, onWire('a', 'x', 'a', 'b'))).toEqual([])
    expect(differences(onWire('x', 'a', 'b', 'a'), two)).toEqual([])
  })

  it.each([
    ['one more', onWire('a', 'x', 'a', 'b', 'b')],
    ['one less', onWire('a', 'x', 'b')],
    ['a stream out of order', [line('wire', 'b'), ...onWire('a', 'a', 'x')]],
  ])('differ on one wire by %s', (_how, wire) => {
    expect(differences(two, wire)).not.toEqual([])
  })
})
