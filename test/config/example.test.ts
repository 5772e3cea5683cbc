import { readFileSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkStart, exampleSecret } from '../../src/config/check.ts'
import { deriveDevNodes } from '../../src/config/dev.ts'
import { loadConfig, type LoadedConfig } from '../../src/config/load.ts'
import { configKeys } from '../../src/config/schema.ts'
import { upstreamServersOf } from '../../src/config/servers.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'

const file = path.resolve(import.meta.dirname, '../../cluster.example.yaml')
const lines = readFileSync(file, 'utf8').split('\n')

let example: LoadedConfig
let dataDir = ''
beforeAll(() => {
  example = loadConfig({ file, env: {}, flags: [] })
  dataDir = path.join(mkdtempSync(path.join(tmpdir(), 'quorate-dev-')), 'data')
})
afterAll(() => rmSync(path.dirname(dataDir), { recursive: true, force: true }))

function derive(count: number): ReturnType<typeof deriveDevNodes> {
  return deriveDevNodes({ base: example, count, dataDir })
}

/** Lines of the file that give the key, as the loader found them. */
function linesOf(keyPath: readonly string[]): string[] {
  const pattern = new RegExp(
    `^${keyPath.map((step) => (step === '*' ? String.raw`[\w-]+` : step)).join(String.raw`\.`)}$`,
  )
  return [...example.origins].flatMap(([key, place]) =>
    pattern.test(key) && place.kind === 'file' ? [lines[place.line - 1] ?? ''] : [],
  )
}

describe('cluster.example.yaml', () => {
  it('is a configuration without warnings', () => {
    expect(example.warnings).toEqual([])
    expect(Object.keys(example.config.mcpServers)).toEqual(['files', 'sql', 'remote'])
  })

  it.each(configKeys.map((key) => [key.path.join('.'), key] as const))(
    'names %s with its default and its unit',
    (_, { path: keyPath, note }) => {
      const standard =
        note.default === null ? 'none' : typeof note.default === 'string' ? note.default : JSON.stringify(note.default)
      const unit = / of ([a-z() ]+) from /.exec(note.expected)?.[1]
      const comment = `# default: ${standard}${unit === undefined ? '' : `; unit: ${unit}`}`
      expect(linesOf(keyPath).filter((line) => line.endsWith(comment))).toHaveLength(1)
    },
  )

  it('gives no key of a node another value than its default, but for the secret', () => {
    const others = configKeys.filter(({ path: [section], note }) => section !== 'mcpServers' && note.default !== null)
    for (const { path: keyPath, note } of others) {
      let value: unknown = example.config
      for (const step of keyPath) value = (value as Record<string, unknown>)[step]
      expect({ [keyPath.join('.')]: value }).toEqual({ [keyPath.join('.')]: note.default })
    }
    expect(example.config.cluster.secret).toBe(exampleSecret)
  })

  it('is refused by start for its secret', () => {
    expect(() => checkStart(example.config, { insecure: false })).toThrow(
      'cluster.secret is the one of the example file, which everyone knows; make your own with: openssl rand -hex 32',
    )
  })
})

describe('start', () => {
  const config = (http: string): LoadedConfig['config'] => ({
    ...example.config,
    cluster: { ...example.config.cluster, secret: 'another-secret-of-thirty-two-bytes' },
    listen: { ...example.config.listen, http },
  })

  it('refuses an HTTP address that other machines reach, unless it is told to be insecure', () => {
    expect(() => checkStart(config('10.0.0.1:6270'), { insecure: false })).toThrow(/pass --insecure where/)
    expect(() => checkStart(config('10.0.0.1:6270'), { insecure: true })).not.toThrow()
    expect(() => checkStart(config('[::1]:6270'), { insecure: false })).not.toThrow()
  })
})

describe('the derived nodes of a local cluster', () => {
  it('have ids, ports, data and servers of their own and one secret', () => {
    const nodes = derive(3)
    const configs = nodes.map((node) => loadConfig({ file: node.configFile, env: {}, flags: [] }))
    expect(configs.flatMap((loaded) => loaded.warnings)).toEqual([])
    expect(configs.map(({ config }) => [config.node.id, config.listen.http, config.listen.raft])).toEqual([
      ['n1', '127.0.0.1:6270', '127.0.0.1:6272'],
      ['n2', '127.0.0.1:6280', '127.0.0.1:6282'],
      ['n3', '127.0.0.1:6290', '127.0.0.1:6292'],
    ])
    const peers = ['127.0.0.1:6271', '127.0.0.1:6281', '127.0.0.1:6291']
    for (const { config } of configs) {
      expect(config.cluster).toMatchObject({
        join: peers,
        bootstrapExpect: 3,
        secret: configs[0]?.config.cluster.secret,
      })
      expect(() => checkStart(config, { insecure: false })).not.toThrow()
    }
    expect(
      configs.map(({ config }) => upstreamServersOf(config, { node: config.node.id ?? '' }).map(({ name }) => name)),
    ).toEqual([['files'], [], ['sql']])
    expect(statSync(path.join(dataDir, 'dev-secret')).mode & 0o777).toBe(0o600)
    expect(statSync(nodes[0]?.configFile ?? '').mode & 0o777).toBe(0o600)
  })

  it('keep their secret, and their number, from one start to the next', () => {
    const before = derive(3).map((node) => loadConfig({ file: node.configFile, env: {}, flags: [] }).config)
    const after = derive(3).map((node) => loadConfig({ file: node.configFile, env: {}, flags: [] }).config)
    expect(after).toEqual(before)
    expect(() => derive(5)).toThrow(OperatingError)
    expect(() => derive(5)).toThrow(/holds a cluster of 3 nodes, not 5; run with --nodes 3, or remove/)
  })
})
