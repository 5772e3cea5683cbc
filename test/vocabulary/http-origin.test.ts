import { describe, expect, it } from 'vitest'
import { makeOriginCheck } from '../../src/vocabulary/http-origin.ts'

const check = makeOriginCheck({
  allowedHosts: ['node1.example:6270', 'Ops.Example', '10.1.2.3:80', '[fd00::1]:6270', 'tls.example:443'],
  allowedOrigins: ['https://console.example', 'vscode-webview://abc', 'https://slash.example/'],
})

describe('the Host check', () => {
  it.each([
    'localhost',
    'localhost:1',
    'LOCALHOST:6270',
    'localhost.:6270',
    '127.0.0.1:6270',
    '127.8.9.10',
    '[::1]:6270',
    '[::1]',
    'node1.example:6270',
    'NODE1.example:6270',
    'ops.example',
    'ops.example:8443',
    '10.1.2.3',
    '[fd00::1]:6270',
    'tls.example',
  ])('lets %s in', (host) => expect(check({ host })).toBeNull())

  it.each([
    '',
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'node1.example',
    'node1.example:6271',
    'sub.ops.example',
    '127.0.0.1:6270:6270',
    'localhost:6270/path',
    'user@localhost',
    'localhost evil.example',
    '0.0.0.0:6270',
    '[fd00::2]:6270',
    '::1',
    'localhost:',
    'localhost..',
    'localhost:123456',
  ])('refuses %j', (host) => expect(check({ host })?.code).toBe('forbidden-host'))

  it('refuses a request without Host', () => {
    expect(check({})?.code).toBe('forbidden-host')
    expect(check({ host: undefined, origin: 'http://localhost' })?.code).toBe('forbidden-host')
  })
})

describe('the Origin check', () => {
  it.each([
    undefined,
    'http://localhost:5173',
    'https://127.0.0.1',
    'http://[::1]:3000',
    'http://node1.example:6270',
    'https://ops.example',
    'https://console.example',
    'HTTPS://CONSOLE.example',
    'https://tls.example',
    'https://slash.example',
    'vscode-webview://abc',
  ])('lets %s in', (origin) => expect(check({ host: 'localhost', origin })).toBeNull())

  it.each([
    'null',
    '',
    'http://evil.example',
    'https://localhost.evil.example',
    'http://console.example',
    'https://console.example:8443',
    'http://tls.example',
    'http://node1.example',
    'file://localhost',
    'http://localhost/path',
    'http://localhost@evil.example',
    'vscode-webview://other',
  ])('refuses %j', (origin) => expect(check({ host: 'localhost', origin })?.code).toBe('forbidden-host'))

  it('names the header, the value cut to a bound, and the key of the configuration', () => {
    const error = check({ host: 'localhost', origin: `http://${'x'.repeat(5000)}.example` })
    expect(error?.message).toMatch(/^Origin "http:\/\/xxx+\.\.\." is not allowed here \(see http\.allowedOrigins\)$/)
    expect(error?.message.length).toBeLessThan(200)
  })
})
