import { describe, expect, it } from 'vitest'
import { redactText } from '../../src/vocabulary/secrets.ts'

const joinToken =
  'qj1.9f3c6a1e-2b7d-4c58-8e0f-1a2b3c4d5e6f.0123456789abcdef.Ab-_cdefghijklmnopqrstuvwxyz0123456789ABCDEFG'

describe('running text', () => {
  it.each([
    ['failed with password=hunter2 now', 'failed with password=[redacted] now'],
    ['spawn x --api-key=hunter2, then', 'spawn x --api-key=[redacted], then'],
    ['(API_KEY=hunter2) FOO=1', '(API_KEY=[redacted]) FOO=1'],
    ['token="hunter 2" and TOKEN=\'hunter 2\'', 'token=[redacted] and TOKEN=[redacted]'],
    ['cut short: token="hunter2', 'cut short: token=[redacted]'],
    ['https://u:hunter2@h/mcp?page=1&api_key=hunter2#x', 'https://[redacted]@h/mcp?page=1&api_key=[redacted]#x'],
    ['Authorization: Bearer hunter2.x', 'Authorization: Bearer [redacted]'],
    ['sent {"token": "hunter\\"2"}', 'sent {"token":"[redacted]"}'],
    [`joins with ${joinToken}.`, 'joins with [redacted]'],
    [`"${joinToken}",(${joinToken.slice(0, 40)})`, '"[redacted]",([redacted])'],
    [`F_${joinToken.replace('qj1', 'qj27')}\nx`, 'F_[redacted]\nx'],
  ])('%s has its secrets hidden', (text, shown) => expect(redactText(text)).toBe(shown))

  it.each([
    'a=1, b=2',
    'the key greeting=hello',
    'https://h/mcp?page=2',
    'cluster.secret: is not set',
    'tokenFile=/run/t',
    'a join token begins with qj1. and is a secret',
    'qj1.CLUSTER.ID.KEY',
  ])('%s stays as it is', (text) => expect(redactText(text)).toBe(text))

  it('of any length is read in one pass', () => {
    const begun = performance.now()
    redactText(
      `${'a'.repeat(1_000_000)} ${'x='.repeat(200_000)} ${'token='.repeat(100_000)} ${'qj1.'.repeat(100_000)} qj1.${'a'.repeat(100_000)}${'.a'.repeat(100_000)}`,
    )
    expect(performance.now() - begun).toBeLessThan(2000)
  })
})
