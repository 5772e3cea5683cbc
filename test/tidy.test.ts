import { existsSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'

// docs/ARCHITECTURE.md's table as data: what each folder of src/ may import from the others, which packages it may use,
// and whether it is pure (no clock, timer, randomness, promise or node: module).
type Folder = { imports: readonly string[]; packages?: readonly string[]; pure?: true }

const shared = ['std', 'vocabulary']
const table: Record<string, Folder> = {
  std: { imports: [] },
  vocabulary: { imports: ['std'], pure: true },
  raft: { imports: shared, pure: true },
  gossip: { imports: shared, pure: true },
  autopilot: { imports: [...shared, 'raft', 'gossip'], pure: true },
  state: { imports: shared, packages: ['msgpackr'], pure: true },
  routing: { imports: [...shared, 'state'], packages: ['@modelcontextprotocol/sdk'], pure: true },
  calls: { imports: [...shared, 'routing', 'log'] },
  wire: { imports: [...shared, 'raft', 'gossip', 'calls'], packages: ['msgpackr', 'zod'] },
  identity: { imports: shared },
  log: { imports: shared, packages: ['pino'] },
  transport: { imports: [...shared, 'wire', 'identity', 'log'], packages: ['ws'] },
  storage: { imports: [...shared, 'raft'], packages: ['level'] },
  consensus: { imports: [...shared, 'raft', 'wire', 'transport', 'storage', 'identity', 'log'] },
  peers: { imports: [...shared, 'gossip', 'wire', 'transport', 'calls', 'identity', 'log'] },
  upstream: {
    imports: [...shared, 'calls', 'log'],
    packages: ['undici', 'eventsource-parser', '@modelcontextprotocol/sdk'],
  },
  gateway: { imports: [...shared, 'calls', 'routing', 'state', 'log'], packages: ['@modelcontextprotocol/sdk', 'zod'] },
  admin: { imports: [...shared, 'log'], packages: ['hono', '@hono/node-server', 'prom-client', 'zod'] },
  config: { imports: shared, packages: ['yaml', 'zod', 'fastest-levenshtein'] },
  node: {
    imports: [
      ...shared,
      'raft',
      'gossip',
      'autopilot',
      'state',
      'routing',
      'calls',
      'wire',
      'identity',
      'log',
      'transport',
      'storage',
      'consensus',
      'peers',
      'upstream',
      'gateway',
      'admin',
      'config',
    ],
    packages: ['undici'],
  },
  cli: {
    imports: [...shared, 'config', 'admin', 'node', 'log', 'upstream'],
    packages: ['commander', 'picocolors', 'cli-table3', 'undici'],
  },
  demo: { imports: [], packages: ['@modelcontextprotocol/sdk', 'zod', 'sql.js'] },
}

const root = path.resolve(import.meta.dirname, '..')
const src = path.join(root, 'src')
const importPattern =
  /(?:^|\n)\s*(?:import|export)\s(?:[^'"]*?\sfrom\s)?['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)/g

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(folder, entry.name)
    if (entry.isDirectory()) return sourceFiles(full)
    return entry.name.endsWith('.ts') ? [full] : []
  })
}

function importsOf(file: string): string[] {
  return [...readFileSync(file, 'utf8').matchAll(importPattern)].map((match) => match[1] ?? match[2] ?? '')
}

function folderOf(file: string): string {
  return path.relative(src, file).split(path.sep)[0] ?? ''
}

function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '$1')
}

const files = sourceFiles(src).filter((file) => path.relative(src, file) !== 'index.ts')

describe('the house', () => {
  it('has only folders that the table knows', () => {
    expect([...new Set(files.map(folderOf))].filter((folder) => !(folder in table))).toEqual([])
  })

  it('imports across folders only what the table allows', () => {
    const violations: string[] = []
    for (const file of files) {
      const folder = folderOf(file)
      const rules = table[folder]
      if (rules === undefined) continue
      for (const target of importsOf(file)) {
        const from = path.relative(root, file)
        if (target.startsWith('node:')) continue
        if (target.startsWith('.')) {
          const resolved = path.resolve(path.dirname(file), target)
          if (!existsSync(resolved)) violations.push(`${from}: ${target} is not a .ts file that exists`)
          const targetFolder = folderOf(resolved)
          if (targetFolder !== folder && !rules.imports.includes(targetFolder))
            violations.push(`${from}: ${targetFolder}/`)
          continue
        }
        const name = target
          .split('/')
          .slice(0, target.startsWith('@') ? 2 : 1)
          .join('/')
        if (!(rules.packages ?? []).includes(name)) violations.push(`${from}: package ${name}`)
      }
    }
    expect(violations).toEqual([])
  })

  it('has a folder graph without cycles', () => {
    const done = new Set<string>()
    const visit = (folder: string, trail: readonly string[]): void => {
      expect(trail, `cycle through ${folder}`).not.toContain(folder)
      if (done.has(folder)) return
      for (const next of table[folder]?.imports ?? []) visit(next, [...trail, folder])
      done.add(folder)
    }
    for (const folder of Object.keys(table)) visit(folder, [])
  })

  it('keeps clocks, timers, randomness, promises and node: modules out of the pure folders', () => {
    const banned = [
      /\bDate\b/,
      /\bperformance\b/,
      /\bset(?:Timeout|Interval|Immediate)\b/,
      /\bMath\.random\b/,
      /\basync\b|\bawait\b|\bPromise\b/,
      /\bprocess\./,
      /['"]node:/,
    ]
    const violations: string[] = []
    for (const file of files.filter((file) => table[folderOf(file)]?.pure)) {
      const text = withoutComments(readFileSync(file, 'utf8'))
      for (const pattern of banned) if (pattern.test(text)) violations.push(`${path.relative(root, file)}: ${pattern}`)
    }
    expect(violations).toEqual([])
  })

  it('describes every folder of src/ in docs/ARCHITECTURE.md', () => {
    const page = readFileSync(path.join(root, 'docs/ARCHITECTURE.md'), 'utf8')
    expect([...new Set(files.map(folderOf))].filter((folder) => !page.includes(`\`${folder}/\``))).toEqual([])
  })

  it('begins every source file with what it is', () => {
    const bare = files.filter(
      (file) => !/^(?:#!.*\n)?(?:import [^;]*?['"]\n|\n)*\/\*\*/.test(readFileSync(file, 'utf8')),
    )
    expect(bare.map((file) => path.relative(root, file))).toEqual([])
  })

  it('exports nothing that no other file uses', () => {
    const texts = new Map(
      [...files, ...['test', 'scripts'].flatMap((folder) => sourceFiles(path.join(root, folder)))].map((file) => [
        file,
        readFileSync(file, 'utf8'),
      ]),
    )
    const dead: string[] = []
    for (const file of files) {
      for (const match of (texts.get(file) ?? '').matchAll(
        /^export (?:async )?(?:const|function|class|type) ([A-Za-z0-9_]+)/gm,
      )) {
        const name = match[1] ?? ''
        const word = new RegExp(`\\b${name}\\b`)
        const usedElsewhere = [...texts].some(([other, text]) => other !== file && word.test(text))
        const usedInSignature = (texts.get(file) ?? '').split(word).length > 2
        if (!usedElsewhere && !usedInSignature) dead.push(`${path.relative(root, file)}: ${name}`)
      }
    }
    expect(dead).toEqual([])
  })
})
