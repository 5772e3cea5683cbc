import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { asJsonText, toJsonText } from '../../src/std/json-text.ts'
import { Allowance } from '../../src/upstream/allowance.ts'
import type { OfferedNames } from '../../src/vocabulary/configured-server.ts'

const rules = (given: Partial<OfferedNames> = {}): OfferedNames => ({ tools: [], resources: [], prompts: [], ...given })
const allowance = (given: { allow?: Partial<OfferedNames>; deny?: Partial<OfferedNames> }): Allowance =>
  new Allowance({ allow: rules(given.allow), deny: rules(given.deny) })

describe('what clients see of a server', () => {
  it.each([
    [[], [], true],
    [['read_file'], [], true],
    [['read_*'], [], true],
    [['*'], [], true],
    [['r*d_f*le'], [], true],
    [['*_file'], [], true],
    [['read'], [], false],
    [['write_*'], [], false],
    [['read_file*x'], [], false],
    [[], ['read_*'], false],
    [['read_*'], ['*_file'], false],
    [['read_*'], ['*_folder'], true],
    [['read_?ile'], [], false],
    [['r.*'], [], false],
    [['read_file*read_file'], [], false],
  ])('with allow %j and deny %j the tool read_file: %s', (allow, deny, expected) => {
    expect(allowance({ allow: { tools: allow }, deny: { tools: deny } }).allows('tools', 'read_file')).toBe(expected)
  })

  it('is what a pattern says as a regular expression would', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '*', '.'), maxLength: 8 })
    fc.assert(
      fc.property(text, text, (pattern, name) => {
        const parts = pattern.split('*').map((part) => part.replaceAll('.', String.raw`\.`))
        const expected = pattern === '' ? name === '' : new RegExp(`^${parts.join('[^]*')}$`).test(name)
        expect(allowance({ deny: { tools: [pattern] } }).allows('tools', name)).toBe(!expected)
      }),
      { numRuns: 2000 },
    )
  })

  it('is decided at once, whatever the pattern', () => {
    const name = 'a'.repeat(50_000)
    expect(allowance({ deny: { tools: [`${'a*'.repeat(400)}b`] } }).allows('tools', name)).toBe(true)
  })

  it('is left in the offer as the server wrote it', () => {
    const offer = {
      initialize: asJsonText('{"capabilities":{}}'),
      tools: asJsonText('[{"name":"a", "n":1.0}, {"name" : "b"},{"name":"c","x":[1, 2]}]'),
      resources: asJsonText('[{"uri":"x://1"},{"uri":"y://1"}]'),
      resourceTemplates: asJsonText('[{"uriTemplate":"x://{id}"},{"uriTemplate":"y://{id}"}]'),
      prompts: asJsonText('[{"name":"b"}]'),
    }
    const seen = allowance({ allow: { resources: ['x:*'] }, deny: { tools: ['b'] } }).offered(offer)
    expect(seen).toEqual({
      ...offer,
      tools: '[{"name":"a", "n":1.0},{"name":"c","x":[1, 2]}]',
      resources: '[{"uri":"x://1"}]',
      resourceTemplates: '[{"uriTemplate":"x://{id}"}]',
    })
    expect(allowance({}).offered(offer)).toBe(offer)
  })
})

describe('a call about what clients do not see', () => {
  const of = allowance({ deny: { tools: ['rm'], resources: ['x://secret/*'], prompts: ['p'] } })
  const refused = (method: string, params: unknown): unknown => {
    const outcome = of.refusal({ method, params: toJsonText(params) })
    return outcome?.kind === 'error' ? JSON.parse(outcome.error) : outcome
  }

  it.each([
    ['tools/call', { name: 'rm', arguments: {} }, { code: -32_602, message: 'Unknown tool: rm' }],
    ['prompts/get', { name: 'p' }, { code: -32_602, message: 'Unknown prompt: p' }],
    [
      'resources/read',
      { uri: 'x://secret/1' },
      { code: -32_002, message: 'Resource not found', data: { uri: 'x://secret/1' } },
    ],
    ['resources/subscribe', { uri: 'x://secret/1' }, { code: -32_002 }],
    ['completion/complete', { ref: { type: 'ref/prompt', name: 'p' } }, { code: -32_602 }],
    ['completion/complete', { ref: { type: 'ref/resource', uri: 'x://secret/{id}' } }, { code: -32_002 }],
  ])('%s %j is answered as of a server that does not have it', (method, params, expected) => {
    expect(refused(method, params)).toMatchObject(expected)
  })

  it.each([
    ['tools/call', { name: 'ls' }],
    ['tools/call', { name: 7 }],
    ['tools/call', {}],
    ['resources/read', { uri: 'x://open' }],
    ['completion/complete', { ref: { type: 'ref/prompt', name: 'q' } }],
    ['completion/complete', { ref: 'p' }],
    ['tasks/get', { taskId: 'rm' }],
    ['constructor', { name: 'rm' }],
  ])('%s %j is none', (method, params) => {
    expect(of.refusal({ method, params: toJsonText(params) })).toBeNull()
  })

  it('is refused by the last of a name that stands twice, and however it is spelled', () => {
    const params = asJsonText(String.raw`{"name":"ls","name":"\u0072m"}`)
    expect(of.refusal({ method: 'tools/call', params })).not.toBeNull()
  })
})
