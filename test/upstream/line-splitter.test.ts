import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LineSplitter } from '../../src/upstream/line-splitter.ts'

const bytesMax = 12

function split(chunks: readonly Uint8Array[]): { lines: string[]; cut: string[] } {
  const told = { lines: [] as string[], cut: [] as string[] }
  const splitter = new LineSplitter(bytesMax, {
    line: (text) => told.lines.push(text),
    tooLong: (beginning) => told.cut.push(beginning),
  })
  for (const chunk of chunks) splitter.push(Buffer.from(chunk))
  splitter.finish()
  return told
}

describe('a stream of lines', () => {
  it('is cut into the same lines, however it is cut into chunks', () => {
    // Of one byte and of several, empty, as long as allowed, longer, with both ends of line.
    const line = fc.string({ unit: fc.constantFrom('a', 'b', 'ä', '\u{1F600}'), maxLength: 16 })
    const text = fc.array(fc.tuple(line, fc.constantFrom('\n', '\r\n')), { maxLength: 12 })
    fc.assert(
      fc.property(text, fc.array(fc.nat(200), { maxLength: 12 }), (lines, cuts) => {
        const bytes = Buffer.from(lines.flat().join(''))
        const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
        const chunks = at.slice(1).map((end, index) => bytes.subarray(at[index], end))
        const whole = lines.map(([each, end]) => (end === '\n' ? each : `${each}\r`))
        const fits = (each: string): boolean => Buffer.byteLength(each) <= bytesMax
        const told = split(chunks)
        expect(told.lines).toEqual(
          whole.filter((each) => fits(each) && each !== '').map((each) => each.replace(/\r$/, '')),
        )
        expect(told.cut).toEqual(
          whole.filter((each) => !fits(each)).map((each) => Buffer.from(each).subarray(0, bytesMax).toString()),
        )
      }),
    )
  })

  it('ends with a line that has no end', () => {
    expect(split([Buffer.from('one\ntw'), Buffer.from('o')]).lines).toEqual(['one', 'two'])
  })
})
