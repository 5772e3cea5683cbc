import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { asJsonText, editJson, jsonMembers, sliceJson, toJsonText, withJsonMember } from '../../src/std/json-text.ts'

describe('JSON text', () => {
  it('finds every member of any object, whatever its values hold and however it is spaced', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom(undefined, 1, '\t'), (object, space) => {
        const text = JSON.stringify(object, null, space)
        const members = jsonMembers(text)
        const parsed = JSON.parse(text) as Record<string, unknown>
        expect([...members.keys()].sort()).toEqual(Object.keys(parsed).sort())
        for (const [name, range] of members) expect(JSON.parse(sliceJson(text, range))).toEqual(parsed[name])
      }),
    )
  })

  it('keeps digits that a number can not hold, escapes and order', () => {
    const text = '{"b":12345678901234567890,"a":"\\u00e9\\"\\\\","c":{"x":1.0}}'
    const members = jsonMembers(text)
    expect([...members].map(([name, range]) => [name, sliceJson(text, range)])).toEqual([
      ['b', '12345678901234567890'],
      ['a', '"\\u00e9\\"\\\\"'],
      ['c', '{"x":1.0}'],
    ])
  })

  it('takes the last of a name that stands twice, as JSON.parse does', () => {
    const text = '{"id":1,"id":2}'
    const range = jsonMembers(text).get('id')
    expect(range && sliceJson(text, range)).toBe('2')
  })

  it('finds no members in what is no object', () => {
    for (const text of ['[]', '"{}"', '7', 'null', '{}']) expect(jsonMembers(text).size).toBe(0)
  })

  it('splices edits and leaves everything else byte for byte', () => {
    const text = '{ "name" : "files__read" , "n": 1e400, "_meta":{"progressToken":"7"} }'
    const name = jsonMembers(text).get('name')
    const meta = jsonMembers(text).get('_meta')
    const token = meta && jsonMembers(text, meta.start).get('progressToken')
    if (name === undefined || token === undefined) throw new Error('members not found')
    expect(
      editJson(text, [
        { ...token, text: '41' },
        { ...name, text: toJsonText('read') },
      ]),
    ).toBe('{ "name" : "read" , "n": 1e400, "_meta":{"progressToken":41} }')
  })
})

describe('withJsonMember', () => {
  it.each([
    ['{}', '{"b":7}'],
    [' { } ', ' { "b":7} '],
    ['{"a":1.0}', '{"a":1.0,"b":7}'],
    ['{"a":{"b":1}, "b" : [2] ,"c":"}"}', '{"a":{"b":1}, "b" : 7 ,"c":"}"}'],
    ['{"\\u0062":1}', '{"\\u0062":7}'],
  ])('puts a member into %s', (given, expected) => {
    expect(withJsonMember(asJsonText(given), 'b', asJsonText('7'))).toBe(expected)
  })
})
