import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { buildCatalog, catalogDiff, findCompletionTarget, findResource } from '../../src/routing/catalog.ts'
import type { Catalog } from '../../src/routing/catalog.ts'
import { listingPageEntries } from '../../src/routing/listing.ts'
import { publicName, publicNameCharactersMax } from '../../src/routing/public-name.ts'
import type { Replica } from '../../src/state/command.ts'
import type { ServerName } from '../../src/vocabulary/ids.ts'
import { offer, replica, tools } from './replicas.ts'

const names = (catalog: Catalog): string[] => catalog.all.tools.entries.map((entry) => entry.name)
const name = (text: string): ServerName => text as ServerName

describe('the catalog', () => {
  it('is the same for every order of the replicas', () => {
    const replicas: Replica[] = [
      replica({
        server: 'files',
        node: 'n2',
        offer: offer({ tools: tools('read', 'write'), resources: '[{"uri":"a:1"}]' }),
      }),
      replica({ server: 'files', node: 'n1', offer: offer({ tools: tools('read') }) }),
      replica({
        server: 'sql',
        node: 'n3',
        priority: 5,
        offer: offer({ tools: tools('query'), resources: '[{"uri":"a:1"}]' }),
      }),
      replica({ server: 'a_', node: 'n3', offer: offer({ tools: tools('b') }) }),
      replica({ server: 'a', node: 'n1', offer: offer({ tools: tools('_b', 'c') }) }),
    ]
    const text = (catalog: Catalog): string =>
      JSON.stringify([
        catalog.all.tools.page(null),
        catalog.all.resources.page(null),
        [...catalog.servers].map(([server, scope]) => [server, scope.node, scope.tools.page(null)]),
        catalog.collisions,
        catalog.faults,
      ])
    const expected = text(buildCatalog(replicas))
    fc.assert(
      fc.property(fc.shuffledSubarray(replicas, { minLength: replicas.length }), (shuffled) => {
        expect(text(buildCatalog(shuffled))).toBe(expected)
      }),
    )
  })

  it('shows the offer of the ready replica with the smallest node id', () => {
    const catalog = buildCatalog([
      replica({ server: 'files', node: 'n3', offer: offer({ tools: tools('three') }) }),
      replica({ server: 'files', node: 'n2', offer: offer({ tools: tools('two') }) }),
      replica({ server: 'files', node: 'n1', status: 'failed', offer: offer({ tools: tools('one') }) }),
    ])
    expect(names(catalog)).toEqual(['files__two'])
    expect(catalog.servers.get(name('files'))?.node).toBe('n2')
  })

  const past = offer({ tools: tools('read'), initialize: '{"capabilities":{"tools":{}},"instructions":"Read."}' })

  it('keeps the lists of a server without a ready replica as they were', () => {
    const catalog = buildCatalog([
      replica({ server: 'files', node: 'n1', status: 'starting' }),
      replica({ server: 'files', node: 'n2', status: 'failed', offer: past }),
      replica({ server: 'files', node: 'n3', status: 'failed', offer: offer({ tools: tools('other') }) }),
    ])
    expect(names(catalog)).toEqual(['files__read'])
    expect(catalog.servers.get(name('files'))?.node).toBe('n2')
  })

  it('withdraws them where that is wanted, and keeps what the server said of itself', () => {
    const catalog = buildCatalog([
      replica({ server: 'files', node: 'n1', status: 'failed', offer: past, whenUnavailable: 'hide' }),
    ])
    const files = catalog.servers.get(name('files'))
    expect(names(catalog)).toEqual([])
    expect(files?.tools.entries).toEqual([])
    expect(files).toMatchObject({ node: null, instructions: 'Read.', capabilities: { tools: { listChanged: true } } })
    expect([...catalog.all.servers]).toEqual(['files'])
  })

  it('changes nothing of a tool but its name on /mcp, and nothing at all on /mcp/{server}', () => {
    const tool =
      '{ "title":"R\\u00e9ad", "name" : "read","inputSchema":{"type":"object","maximum":12345678901234567890},"_meta":{"x":1.0},"icons":[],"new":null}'
    const catalog = buildCatalog([replica({ server: 'files', node: 'n1', offer: offer({ tools: `[${tool}]` }) })])
    expect(catalog.all.tools.page(null)).toBe(`{"tools":[${tool.replace('"read"', '"files__read"')}]}`)
    expect(catalog.servers.get(name('files'))?.tools.page(null)).toBe(`{"tools":[${tool}]}`)
  })

  it('finds a tool by its public name, also when the own name holds two underscores', () => {
    const catalog = buildCatalog([
      replica({ server: 'files', node: 'n1', offer: offer({ tools: tools('deep__read') }) }),
    ])
    expect(catalog.all.tools.find('files__deep__read')).toMatchObject({ server: 'files', own: 'deep__read' })
    expect(catalog.all.tools.find('deep__read')).toBeUndefined()
  })

  it('gives an equal public name to the first by server and reports the other, which keeps its own URL', () => {
    const catalog = buildCatalog([
      replica({ server: 'a_', node: 'n1', offer: offer({ tools: tools('b') }) }),
      replica({ server: 'a', node: 'n1', offer: offer({ tools: tools('_b') }) }),
    ])
    expect(catalog.all.tools.find('a___b')?.server).toBe('a')
    expect(catalog.collisions).toEqual([
      { path: '/mcp', list: 'tools', name: 'a___b', shown: 'a', hidden: 'a_', own: 'b' },
    ])
    expect(catalog.servers.get(name('a_'))?.tools.find('b')).toBeDefined()
  })

  it('shows a URI that two servers offer by priority, then by name, and reports it', () => {
    const shared = offer({ resources: '[{"uri":"x://1"}]' })
    const at = (server: string, priority: number): Replica => replica({ server, node: 'n1', priority, offer: shared })
    expect(buildCatalog([at('a', 1), at('b', 2)]).all.resources.find('x://1')?.server).toBe('b')
    const equal = buildCatalog([at('b', 1), at('a', 1)])
    expect(equal.all.resources.find('x://1')?.server).toBe('a')
    expect(equal.collisions).toEqual([
      { path: '/mcp', list: 'resources', name: 'x://1', shown: 'a', hidden: 'b', own: 'x://1' },
    ])
  })

  it('leaves out and reports what a foreign offer does wrong, and keeps the rest', () => {
    const catalog = buildCatalog([
      replica({
        server: 'odd',
        node: 'n1',
        offer: offer({
          tools: '[{"name":"good"},{"name":7},{},null,3,"x",[],{"name":"good","second":true},{"name":""}]',
          resources: '{"uri":"not a list"}',
          prompts: 'no JSON',
          initialize: '[]',
        }),
      }),
    ])
    expect(catalog.all.tools.page(null)).toBe('{"tools":[{"name":"odd__good"}]}')
    expect(catalog.faults.map((fault) => fault.list)).toEqual([
      'initialize',
      ...Array.from({ length: 8 }, () => 'tools'),
      'resources',
      'prompts',
    ])
    expect(catalog.faults[0]).toMatchObject({ server: 'odd', node: 'n1' })
  })

  it('never throws on any JSON, nor on text that is none', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), fc.array(fc.jsonValue()), (text, entries) => {
        const list = JSON.stringify(entries)
        const catalog = buildCatalog([
          replica({
            server: 's',
            node: 'n1',
            offer: offer({ tools: text, prompts: list, resources: list, resourceTemplates: text, initialize: text }),
          }),
        ])
        expect(() => JSON.parse(catalog.all.prompts.page(null) ?? '')).not.toThrow()
      }),
    )
  })
})

describe('a public name', () => {
  it('is cut to 64 characters with a hash that tells long names apart', () => {
    const server = name('s'.repeat(48))
    const long = Array.from({ length: 50 }, (_, at) => publicName(server, `a_rather_long_tool_name_${at}`))
    for (const text of long) expect(text).toMatch(/^s{48}__a_rat_[0-9a-f]{8}$/)
    expect(long[0]).toHaveLength(publicNameCharactersMax)
    expect(new Set(long).size).toBe(50)
    expect(publicName(server, 'a_rather_long_tool_name_0')).toBe(long[0])
  })

  it('is whole up to 64 characters', () => {
    expect(publicName(name('files'), 'x'.repeat(57))).toBe(`files__${'x'.repeat(57)}`)
    expect(publicName(name('files'), 'x'.repeat(58))).toMatch(/^files__x{48}_[0-9a-f]{8}$/)
  })

  it('leaves no half character at the cut', () => {
    const cut = publicName(name('files'), `${'x'.repeat(47)}${'😀'.repeat(9)}`)
    expect(cut).toMatch(/^files__x{47}_[0-9a-f]{8}$/)
  })
})

describe('a page', () => {
  const many = tools(...Array.from({ length: 2 * listingPageEntries + 1 }, (_, at) => `t${at}`))
  const listing = buildCatalog([replica({ server: 's', node: 'n1', offer: offer({ tools: many }) })]).all.tools

  it('follows another without gap or repeat, in bytewise order', () => {
    const seen: string[] = []
    let cursor: string | null = null
    do {
      const page = JSON.parse(listing.page(cursor) ?? '') as { tools: { name: string }[]; nextCursor?: string }
      seen.push(...page.tools.map((tool) => tool.name))
      cursor = page.nextCursor ?? null
    } while (cursor !== null)
    expect(seen).toEqual(listing.entries.map((entry) => entry.name))
    expect(seen).toEqual([...seen].sort())
    expect(seen).toHaveLength(2 * listingPageEntries + 1)
  })

  it.each(['', 'rubbish', '!!', Buffer.from('prompts:s__t1').toString('base64url')])(
    'is refused for a cursor that no page gave: %j',
    (cursor) => expect(listing.page(cursor)).toBeUndefined(),
  )

  it('goes on behind the name of its cursor when that entry is gone', () => {
    const { nextCursor } = JSON.parse(listing.page(null) ?? '') as { nextCursor: string }
    const last = listing.entries[listingPageEntries - 1]?.own
    const fewer = (JSON.parse(many) as { name: string }[]).filter((tool) => tool.name !== last)
    const later = buildCatalog([replica({ server: 's', node: 'n1', offer: offer({ tools: JSON.stringify(fewer) }) })])
    const page = JSON.parse(later.all.tools.page(nextCursor) ?? '') as { tools: { name: string }[] }
    expect(page.tools[0]?.name).toBe(listing.entries[listingPageEntries]?.name)
  })
})

describe('the owner of a URI', () => {
  const catalog = buildCatalog([
    replica({
      server: 'files',
      node: 'n1',
      offer: offer({
        resources: '[{"uri":"file:///a/b"}]',
        resourceTemplates: '[{"uriTemplate":"file:///{dir}/{name}"}]',
      }),
    }),
    replica({
      server: 'tree',
      node: 'n1',
      priority: 9,
      offer: offer({ resourceTemplates: '[{"uriTemplate":"file:///{+path}"},{"uriTemplate":"{unclosed"}]' }),
    }),
  ])

  it.each([
    ['file:///a/b', 'files'], // listed, whatever a template's priority is
    ['file:///a/c', 'tree'], // two templates match: priority
    ['file:///a/b/c', 'tree'],
    ['http://x', undefined],
    ['', undefined],
  ])('%s is %s', (uri, owner) => expect(findResource(catalog.all, uri)).toBe(owner))

  it.each([
    ['one template', [`x:${'{+a}-'.repeat(12)}!`], 5000],
    ['many of them', Array.from({ length: 200 }, (_, at) => `x:{+a}-{+b}-{+c}!${at}`), 380],
  ])('is found in bounded time, however %s are made', (_, templates, length) => {
    const resourceTemplates = JSON.stringify(templates.map((uriTemplate) => ({ uriTemplate })))
    const slow = buildCatalog([replica({ server: 's', node: 'n1', offer: offer({ resourceTemplates }) })])
    const before = performance.now()
    expect(findResource(slow.all, `x:${'-'.repeat(length)}`)).toBeUndefined()
    expect(performance.now() - before).toBeLessThan(1000)
  })
})

describe('the difference of two catalogs', () => {
  const base = { tools: tools('a'), prompts: '[{"name":"p"}]', resources: '[{"uri":"u:1"}]' }
  const build = (changes: Partial<Parameters<typeof offer>[0]>, node = 'n1'): Catalog =>
    buildCatalog([replica({ server: 's', node, offer: offer({ ...base, ...changes }) })])
  const none = { tools: false, resources: false, prompts: false }

  it.each([
    ['nothing', {}, none],
    ['a tool more', { tools: tools('a', 'b') }, { ...none, tools: true }],
    ['a description', { tools: '[{"name":"a","description":"new"}]' }, { ...none, tools: true }],
    ['a resource less', { resources: '[]' }, { ...none, resources: true }],
    ['a template more', { resourceTemplates: '[{"uriTemplate":"u:{x}"}]' }, { ...none, resources: true }],
    ['a prompt renamed', { prompts: '[{"name":"q"}]' }, { ...none, prompts: true }],
  ])('sees %s', (_, changes, expected) => {
    expect(catalogDiff(build({}).all, build(changes).all)).toEqual(expected)
  })

  it('is empty when the same offer comes from another node', () => {
    expect(catalogDiff(build({}).all, build({}, 'n2').all)).toEqual(none)
  })
})

describe('names where servers share a URL', () => {
  const replicas = [
    replica({
      server: 'a',
      node: 'n1',
      groups: ['g'],
      offer: offer({ tools: tools('read', 'only'), prompts: '[{"name":"p"}]' }),
    }),
    replica({
      server: 'b',
      node: 'n2',
      priority: 1,
      groups: ['g', 'h'],
      offer: offer({ tools: tools('read', 'more') }),
    }),
    replica({ server: 'c', node: 'n3', offer: offer({ tools: tools('only') }) }),
  ]

  it.each([
    ['always', ['a__only', 'a__read', 'b__more', 'b__read', 'c__only']],
    ['conditional', ['a__only', 'a__read', 'b__read', 'c__only', 'more']],
    ['never', ['more', 'only', 'read']],
  ] as const)('%s: begin with the server as the policy says', (naming, expected) => {
    const catalog = buildCatalog(replicas, naming)
    expect(names(catalog)).toEqual(expected)
    for (const shown of catalog.all.tools.entries) expect(JSON.parse(shown.text)).toMatchObject({ name: shown.name })
  })

  it('never: show the one of the server of higher priority, then smaller name, and report the others', () => {
    const catalog = buildCatalog(replicas, 'never')
    expect(catalog.all.tools.find('read')).toMatchObject({ server: 'b', own: 'read' })
    expect(catalog.all.tools.find('only')).toMatchObject({ server: 'a', own: 'only' })
    expect(catalog.collisions).toEqual([
      { path: '/mcp', list: 'tools', name: 'read', shown: 'b', hidden: 'a', own: 'read' },
      { path: '/mcp', list: 'tools', name: 'only', shown: 'a', hidden: 'c', own: 'only' },
    ])
  })

  it.each(['always', 'conditional', 'never'] as const)('%s: have at most 64 characters, and stay apart', (naming) => {
    const long = 'x'.repeat(70)
    const catalog = buildCatalog(
      [replica({ server: 's', node: 'n1', offer: offer({ tools: tools(`${long}1`, `${long}2`) }) })],
      naming,
    )
    expect(catalog.all.tools.entries.map((entry) => entry.own)).toHaveLength(2)
    for (const shown of names(catalog)) expect(shown.length).toBeLessThanOrEqual(publicNameCharactersMax)
    expect(catalog.collisions).toEqual([])
  })

  it('begin with the server in a group only where two of it have the same', () => {
    const { groups } = buildCatalog(replicas)
    expect([...groups.keys()]).toEqual(['g', 'h'])
    expect([...(groups.get('g')?.servers ?? [])]).toEqual(['a', 'b'])
    expect(groups.get('g')?.tools.entries.map((entry) => entry.name)).toEqual(['a__read', 'b__read', 'more', 'only'])
    expect(groups.get('h')?.tools.entries.map((entry) => entry.name)).toEqual(['more', 'read'])
    expect(groups.get('g')?.prompts.find('p')).toMatchObject({ server: 'a' })
    expect(groups.get('h')?.prompts.find('p')).toBeUndefined()
  })

  it('leave a group known while none of its servers is ready', () => {
    const { groups } = buildCatalog([replica({ server: 'a', node: 'n1', status: 'starting', groups: ['g'] })])
    expect([...(groups.get('g')?.servers ?? [])]).toEqual(['a'])
    expect(groups.get('g')?.tools.entries).toEqual([])
  })
})

describe('the capabilities of a URL', () => {
  const says = (server: string, capabilities: string): Replica =>
    replica({
      server,
      node: 'n1',
      offer: offer({ initialize: `{"capabilities":${capabilities},"serverInfo":{"name":"${server}","x":1.0}}` }),
    })

  it("are the server's own on its own URL, but that changes of its lists are told", () => {
    const { servers } = buildCatalog([
      says(
        'a',
        '{"tools":{"listChanged":false,"y":1},"resources":{"subscribe":true},"logging":{},"experimental":{"z":{}}}',
      ),
    ])
    expect(servers.get(name('a'))).toMatchObject({
      initialize: expect.stringContaining('"serverInfo":{"name":"a","x":1.0}'),
    })
    expect(servers.get(name('a'))?.capabilities).toEqual({
      tools: { listChanged: true, y: 1 },
      resources: { subscribe: true, listChanged: true },
      logging: {},
      experimental: { z: {} },
    })
  })

  it('are all lists, and what at least one server can, where several share it', () => {
    const all = { tools: { listChanged: true }, resources: { listChanged: true }, prompts: { listChanged: true } }
    expect(buildCatalog([]).all.capabilities).toEqual(all)
    const catalog = buildCatalog([
      says('a', '{"tools":{},"resources":{"subscribe":true},"tasks":{"list":{},"requests":{"tools":{"call":{}}}}}'),
      says(
        'b',
        '{"completions":{},"logging":{},"experimental":{"z":{}},"tasks":{"cancel":{},"requests":{"sampling":{}}}}',
      ),
      replica({ server: 'c', node: 'n1', status: 'starting' }),
    ])
    expect(catalog.all.capabilities).toEqual({
      ...all,
      resources: { subscribe: true, listChanged: true },
      logging: {},
      completions: {},
      tasks: { list: {}, cancel: {}, requests: { tools: { call: {} }, sampling: {} } },
    })
    expect(catalog.servers.get(name('c'))?.capabilities).toEqual(all)
  })

  it('are no way to change what others are', () => {
    const { all } = buildCatalog([
      says('a', '{"tasks":{"list":{}}}'),
      says('b', '{"tasks":{"__proto__":{"polluted":true}}}'),
    ])
    expect(Object.getPrototypeOf(all.capabilities['tasks'])).toBe(Object.prototype)
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })
})

describe('what a completion is asked about', () => {
  const { all } = buildCatalog([
    replica({
      server: 'a',
      node: 'n1',
      offer: offer({
        prompts: '[{"name":"p"}]',
        resources: '[{"uri":"x://plain"}]',
        resourceTemplates: '[{"uriTemplate":"x://{id}/data","name":"t"}]',
      }),
    }),
  ])

  it.each([
    ['prompt', 'a__p', { server: 'a', own: 'p' }],
    ['prompt', 'p', undefined],
    ['resource', 'x://{id}/data', { server: 'a', own: 'x://{id}/data' }],
    ['resource', 'x://7/data', { server: 'a', own: 'x://7/data' }],
    ['resource', 'x://plain', { server: 'a', own: 'x://plain' }],
    ['resource', 'y://7', undefined],
  ] as const)('%s %s', (kind, asked, expected) => {
    const found = findCompletionTarget(all, { kind, name: asked })
    expect(found && { server: found.server, own: found.own }).toEqual(expected)
  })
})

describe("a list in its server's own order", () => {
  const many = Array.from({ length: 2 * listingPageEntries + 1 }, (_, at) => `t${(at * 7) % 1000}`)
  const listOf = (own: readonly string[]): Catalog =>
    buildCatalog([replica({ server: 's', node: 'n1', offer: offer({ tools: tools(...own) }) })])
  const page = (catalog: Catalog, cursor: string | null): { names: string[]; next: string | undefined } => {
    const { tools: shown, nextCursor } = JSON.parse(catalog.servers.get(name('s'))?.tools.page(cursor) ?? '{}') as {
      tools: { name: string }[]
      nextCursor?: string
    }
    return { names: shown.map((tool) => tool.name), next: nextCursor }
  }

  it('is paged from first to last', () => {
    const catalog = listOf(many)
    const seen: string[] = []
    let cursor: string | null = null
    do {
      const { names: shown, next } = page(catalog, cursor)
      seen.push(...shown)
      cursor = next ?? null
    } while (cursor !== null)
    expect(seen).toEqual(many)
  })

  it('goes on behind the entry that a cursor names, also when others came or it went', () => {
    const { next = '' } = page(listOf(many), null)
    const more = page(listOf(['new', ...many]), next)
    expect(more.names[0]).toBe(many[listingPageEntries])
    const gone = many.filter((_, at) => at !== listingPageEntries - 1)
    expect(page(listOf(gone), next).names[0]).toBe(many[listingPageEntries])
    expect(page(listOf(['a']), next).names).toEqual([])
  })
})
