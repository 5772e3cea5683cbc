import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadConfig, type LoadedConfig } from '../../src/config/load.ts'
import type { FlagOverride } from '../../src/config/override.ts'
import { showConfig } from '../../src/config/show.ts'
import { upstreamServersOf } from '../../src/config/servers.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'

const secret = 'a-secret-of-thirty-two-bytes-or-more'
const secretLine = `cluster: { secret: ${secret} }`

let folder = ''
let file = ''
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'quorate-config-'))
  file = path.join(folder, 'cluster.yaml')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

type Options = { env?: Record<string, string>; flags?: FlagOverride[] }

function load(text: string, { env = {}, flags = [] }: Options = {}): LoadedConfig {
  writeFileSync(file, text)
  return loadConfig({ file, env, flags })
}

/** The message, with the folder's name cut away. */
function refusal(text: string, options?: Options): string {
  try {
    load(text, options)
  } catch (error) {
    if (!(error instanceof OperatingError) || error.code !== 'bad-config') throw error
    return error.message.replaceAll(`${folder}/`, '')
  }
  throw new Error('the configuration was taken')
}

describe('a configuration that can not be used is refused with key, line and way out', () => {
  const cases: readonly [name: string, yaml: string, message: string, env?: Record<string, string>][] = [
    [
      'a key that stands twice',
      `${secretLine}\nlog: { level: info }\nlog: { level: debug }`,
      'cluster.yaml:3: log: is given twice, first at FOLDER/cluster.yaml:2; keep one',
    ],
    [
      'a server name that stands twice',
      `${secretLine}\nmcpServers:\n  files: { command: a }\n  files: { command: b }`,
      'cluster.yaml:4: mcpServers.files: is given twice, first at FOLDER/cluster.yaml:3; keep one',
    ],
    [
      'an unknown key that is nearly one',
      `${secretLine}\nconsensus:\n  heartbeatMS: 50`,
      'cluster.yaml:3: consensus.heartbeatMS: is no key here; did you mean heartbeatMs?',
    ],
    [
      'an unknown section',
      `${secretLine}\nmcpservers: {}`,
      'cluster.yaml:2: mcpservers: is no key here; did you mean mcpServers?',
    ],
    [
      'the name that VS Code gives the servers',
      `${secretLine}\nservers: {}`,
      'cluster.yaml:2: servers: is no key here; did you mean mcpServers?',
    ],
    [
      'an unknown key that is like none',
      `${secretLine}\nlog:\n  colours: true`,
      'cluster.yaml:3: log.colours: is no key here; the keys are level',
    ],
    [
      'a key that a later version may have',
      `${secretLine}\nworkflows: {}`,
      'cluster.yaml:2: workflows: is no key here; the keys are cluster, node, listen, advertise, http, consensus, gossip, autopilot, mcp, mcpServers, log',
    ],
    [
      'a variable that is not set',
      'cluster:\n  secret: ${QUORATE_SECRET}',
      'cluster.yaml:2: cluster.secret: the environment variable QUORATE_SECRET is not set; set it, or write ${QUORATE_SECRET:-default}',
    ],
    [
      'a variable in a list',
      `${secretLine}\nmcpServers:\n  files:\n    command: node\n    args:\n      - a\n      - \${NOWHERE}`,
      'cluster.yaml:7: mcpServers.files.args[1]: the environment variable NOWHERE is not set; set it, or write ${NOWHERE:-default}',
    ],
    [
      "a reference of VS Code's",
      `${secretLine}\nnode: { id: "\${input:id}" }`,
      'cluster.yaml:2: node.id: "${input:id}" is no variable; write ${NAME} or ${NAME:-default}, or $${ for a plain ${',
    ],
    [
      'text for a number',
      `${secretLine}\nconsensus: { heartbeatMs: fast }`,
      'cluster.yaml:2: consensus.heartbeatMs: expected a whole number of ms from 10 to 60000, got "fast" (time between a leader\'s heartbeats; default 100)',
    ],
    [
      'a number that is out of its range',
      `${secretLine}\nconsensus: { heartbeatMs: 3 }`,
      "cluster.yaml:2: consensus.heartbeatMs: expected a whole number of ms from 10 to 60000, got 3 (time between a leader's heartbeats; default 100)",
    ],
    [
      'a number from the environment',
      secretLine,
      'environment QUORATE_CONSENSUS_HEARTBEAT_MS: consensus.heartbeatMs: expected a whole number of ms from 10 to 60000, got "1s" (time between a leader\'s heartbeats; default 100)',
      { QUORATE_CONSENSUS_HEARTBEAT_MS: '1s' },
    ],
    [
      'a section that is no map',
      `${secretLine}\nlisten: 6270`,
      'cluster.yaml:2: listen: expected a map with keys of http, peer, raft, got 6270',
    ],
    [
      'a list that is text',
      `${secretLine}\nhttp:\n  allowedHosts: mcp.example.org`,
      'cluster.yaml:3: http.allowedHosts: expected a list of host names, for example [mcp.example.org], got "mcp.example.org" (further Host headers that are answered)',
    ],
    [
      'an item of a list',
      `${secretLine}\nmcpServers:\n  files:\n    command: node\n    args:\n      - 3000`,
      'cluster.yaml:6: mcpServers.files.args[0]: expected a list of texts; put numbers and true/false in quotes, got 3000 (arguments of command)',
    ],
    [
      'a secret that is too short, without telling it',
      'cluster:\n  secret: hunter2',
      'cluster.yaml:2: cluster.secret: expected text of 32 bytes or more, the same on all nodes (proves to peers that a node belongs here)',
    ],
    [
      'an environment value of a server, without telling it',
      `${secretLine}\nmcpServers:\n  s:\n    command: node\n    env:\n      PIN: 12345`,
      'cluster.yaml:6: mcpServers.s.env.PIN: expected a map of texts; put numbers and true/false in quotes (environment of command, added to a minimal one)',
    ],
    [
      'no secret',
      'log: { level: info }',
      'cluster.yaml:1: cluster.secret: is not set; name a file of 32 bytes or more with cluster.secretFile, or set QUORATE_CLUSTER_SECRET (make one with: openssl rand -hex 32); a node that joins a cluster needs a join token instead (cluster.tokenFile)',
    ],
    [
      'a join token beside a secret',
      `cluster: { secret: ${secret}, tokenFile: t, join: [a:1] }`,
      'cluster.yaml:1: cluster.tokenFile: stands beside a secret; keep cluster.tokenFile for a node that joins, the secret for one that forms',
    ],
    [
      'a join token for a node that forms a cluster',
      'cluster: { tokenFile: t, join: [a:1, b:1], bootstrapExpect: 3 }',
      'cluster.yaml:1: cluster.tokenFile: is for a node that joins, but cluster.bootstrapExpect is for one that forms a cluster; take one away',
    ],
    [
      'a join token, and nobody to show it to',
      'cluster: { tokenFile: t }',
      'cluster.yaml:1: cluster.tokenFile: needs cluster.join (--join HOST:PORT): peer addresses of nodes of the cluster that made the token',
    ],
    [
      'an address without a port',
      `${secretLine}\nlisten:\n  http: localhost`,
      'cluster.yaml:3: listen.http: expected HOST:PORT, for example 127.0.0.1:6270, got "localhost" (MCP clients, admin API, health, metrics; default 127.0.0.1:6270)',
    ],
    [
      'a wildcard address that nobody can be told',
      `${secretLine}\nlisten:\n  peer: 0.0.0.0:6271`,
      'cluster.yaml:3: listen.peer: 0.0.0.0:6271 means every interface, so others need an address to reach it by; set advertise.peer',
    ],
    [
      'an advertised wildcard address',
      `${secretLine}\nadvertise:\n  peer: "[::]:6271"`,
      'cluster.yaml:3: advertise.peer: [::]:6271 is no address that others can reach; name a host and a port',
    ],
    [
      'two listeners on one address',
      `${secretLine}\nlisten:\n  raft: 127.0.0.1:6271`,
      'cluster.yaml:3: listen.raft: 127.0.0.1:6271 is the address of listen.peer too; give it another port',
    ],
    [
      'an election timeout near the heartbeat',
      `${secretLine}\nconsensus:\n  heartbeatMs: 300`,
      'cluster.yaml:2: consensus.electionTimeoutMs: 1000 ms is less than five heartbeats of 300 ms, so a slow moment would depose a leader; expected 1500 or more',
    ],
    [
      'an id with a space',
      `${secretLine}\nnode:\n  id: node one`,
      'cluster.yaml:3: node.id: expected 1 to 64 characters of A-Z a-z 0-9 . _ -, got "node one" (permanent id of this node)',
    ],
    [
      'a label that is too long for the directory of members',
      `${secretLine}\nnode:\n  labels:\n    rack: ${'x'.repeat(257)}`,
      "cluster.yaml:4: node.labels.rack: a label's name and value have at most 256 characters",
    ],
    [
      'more labels than the directory of members takes',
      `${secretLine}\nnode:\n  labels: {${Array.from({ length: 65 }, (_, n) => `l${n}: x`).join(', ')}}`,
      'cluster.yaml:3: node.labels: are more than 64; take some away',
    ],
    [
      'a label that is the id',
      `${secretLine}\nnode:\n  labels:\n    node: n7`,
      'cluster.yaml:4: node.labels.node: the label node always is the id of the node; take the label away, or set node.id',
    ],
    [
      'a capacity of half a core',
      `${secretLine}\nnode:\n  capacity:\n    cpu: 0.5`,
      'cluster.yaml:4: node.capacity.cpu: expected a whole number of cores from 1 to 65536, got 0.5 (cores that the node may use)',
    ],
    [
      'a memory in a unit of thousands',
      `${secretLine}\nnode: { capacity: { memory: 16GB } }`,
      'cluster.yaml:2: node.capacity.memory: expected a whole number of bytes from 1 to 1125899906842624, or text with KiB, MiB or GiB, for example 16GiB, got "16GB" (memory that the node may use)',
    ],
    [
      'more memory than there is',
      `${secretLine}\nnode: { capacity: { memory: 1048577GiB } }`,
      'cluster.yaml:2: node.capacity.memory: expected a whole number of bytes from 1 to 1125899906842624, or text with KiB, MiB or GiB, for example 16GiB, got "1048577GiB" (memory that the node may use)',
    ],
    [
      'a capacity that is nearly one',
      `${secretLine}\nnode: { capacity: { gpus: 2 } }`,
      'cluster.yaml:2: node.capacity.gpus: is no key here; did you mean gpu?',
    ],
    [
      'a join of nobody but itself',
      `cluster:\n  secret: ${secret}\n  join: [127.0.0.1:6271]`,
      'cluster.yaml:3: cluster.join: names only this node itself; list peer addresses of the cluster to join, or empty it for a cluster of this node alone',
    ],
    [
      'three nodes and nobody to join',
      `cluster:\n  secret: ${secret}\n  bootstrapExpect: 3`,
      'cluster.yaml:3: cluster.bootstrapExpect: 3 nodes form the cluster, but cluster.join names none of the others; list their peer addresses there',
    ],
    [
      'one node and somebody to join',
      `cluster:\n  secret: ${secret}\n  join: [10.0.0.1:6271]\n  bootstrapExpect: 1`,
      'cluster.yaml:4: cluster.bootstrapExpect: 1 forms a cluster of this node alone, but cluster.join names others; set the number of nodes that form it together, or empty cluster.join',
    ],
    [
      'eight nodes',
      `cluster:\n  secret: ${secret}\n  bootstrapExpect: 8`,
      'cluster.yaml:3: cluster.bootstrapExpect: expected a whole number of nodes from 1 to 7, got 8 (how many nodes form the cluster together)',
    ],
    [
      'an address to join that stands twice',
      `cluster:\n  secret: ${secret}\n  bootstrapExpect: 3\n  join: [a:1, a:1]`,
      'cluster.yaml:4: cluster.join[1]: a:1 is given twice; keep one',
    ],
    [
      'secret and secretFile',
      `cluster:\n  secret: ${secret}\n  secretFile: nowhere`,
      'cluster.yaml:3: cluster.secretFile: cluster.secret is given too (FOLDER/cluster.yaml:2); keep one of them',
    ],
    [
      'a secret file that is not there',
      'cluster:\n  secretFile: /nonexistent/secret',
      'cluster.yaml:2: cluster.secretFile: /nonexistent/secret can not be read (ENOENT); make one with: openssl rand -hex 32 > /nonexistent/secret',
    ],
    [
      'a reserved server name',
      `${secretLine}\nmcpServers:\n  quorate: { command: a }`,
      'cluster.yaml:3: mcpServers.quorate: the name quorate is reserved; choose another',
    ],
    [
      'a server name with other characters',
      `${secretLine}\nmcpServers:\n  "my server": { command: a }`,
      'cluster.yaml:3: mcpServers."my server": a server\'s name has 1 to 48 characters of A-Z a-z 0-9 _ - and no "__"; for example my-server',
    ],
    [
      'a server with neither command nor url',
      `${secretLine}\nmcpServers:\n  s: {}`,
      'cluster.yaml:3: mcpServers.s: has neither command (a program to start) nor url (a server over HTTP); give one',
    ],
    [
      'a server with both command and url',
      `${secretLine}\nmcpServers:\n  s: { command: a, url: "http://localhost/mcp" }`,
      'cluster.yaml:3: mcpServers.s: has both command and url; keep command for a program, url for a server over HTTP',
    ],
    [
      'a transport that nobody knows',
      `${secretLine}\nmcpServers:\n  s:\n    type: websocket\n    url: http://localhost/ws`,
      'cluster.yaml:4: mcpServers.s.type: expected one of stdio, http, streamable-http, streamableHttp, sse, got "websocket" (how the server is spoken to; found out by command or url when left out)',
    ],
    [
      'the old transport for a program',
      `${secretLine}\nmcpServers:\n  s:\n    type: sse\n    command: node`,
      'cluster.yaml:4: mcpServers.s.type: sse does not fit command; leave type out, or set it to stdio',
    ],
    [
      'a group that is no path',
      `${secretLine}\nmcpServers:\n  s:\n    command: node\n    groups: [a/b]`,
      'cluster.yaml:5: mcpServers.s.groups[0]: expected a list of names of 1 to 48 characters of A-Z a-z 0-9 _ -, for example [research], got "a/b" (the server is part of /mcp/group/{name} for each name)',
    ],
    [
      'a naming that nobody knows',
      `${secretLine}\nmcp: { naming: sometimes }`,
      'cluster.yaml:2: mcp.naming: expected one of always, conditional, never, got "sometimes" (when tools and prompts have the name of their server before theirs on /mcp; default always)',
    ],
    [
      'a type that does not fit',
      `${secretLine}\nmcpServers:\n  s:\n    type: http\n    command: node`,
      'cluster.yaml:4: mcpServers.s.type: http does not fit command; leave type out, or set it to stdio',
    ],
    [
      'headers of a program',
      `${secretLine}\nmcpServers:\n  s:\n    command: node\n    headers: { a: b }`,
      'cluster.yaml:5: mcpServers.s.headers: has no meaning for a server with command; take it away',
    ],
    [
      'a server that is text',
      `${secretLine}\nmcpServers:\n  s: npx`,
      'cluster.yaml:3: mcpServers.s: expected a map with keys of type, command, args, env, cwd, url, headers, disabled, priority, timeoutMs, timeoutMaxMs, isolation, isolatedMax, allow, deny, groups, whenUnavailable, placement, got "npx"',
    ],
    [
      'a file that is a list',
      '- a',
      'cluster.yaml:1: the file must be a map of sections, for example "cluster: {name: quorate}"',
    ],
    [
      'a key that poisons',
      `${secretLine}\nnode: { labels: { __proto__: x } }`,
      'cluster.yaml:2: node.labels: __proto__ can not be used as a key',
    ],
  ]
  it.each(cases)('%s', (_, yaml, message, env) => {
    expect(refusal(yaml, { env: env ?? {} })).toBe(message.replaceAll('FOLDER/', ''))
  })

  it('text that is no YAML is told with its line', () => {
    expect(refusal('cluster: {\nlog: [')).toMatch(
      /^the configuration has \d problems:\n {2}cluster.yaml:\d: is no YAML here: /,
    )
  })

  it('a file that is not there is named', () => {
    expect(() => loadConfig({ file: '/nonexistent/a.yaml', env: {}, flags: [] })).toThrow(
      'the configuration file /nonexistent/a.yaml can not be read; name another with --config',
    )
  })

  it('aliases that would fill the memory are refused', () => {
    const levels = Array.from({ length: 12 }, (_, i) => `x${i}: &x${i} [${`*x${i - 1}, `.repeat(9)}]`).slice(1)
    expect(refusal(`x0: &x0 [a]\n${levels.join('\n')}`)).toContain('is too deep or too large for a configuration')
  })

  it('all problems of a file are told together, in the order of their lines', () => {
    const message = refusal(
      'cluster:\n  secret: ${NOWHERE}\n  nmae: x\nconsensus:\n  heartbeatMs: 2\nlisten:\n  peer: 0.0.0.0:1\nmcpServers:\n  group: { command: a }',
    )
    expect(message.split('\n')).toEqual([
      'the configuration has 5 problems:',
      '  cluster.yaml:2: cluster.secret: the environment variable NOWHERE is not set; set it, or write ${NOWHERE:-default}',
      '  cluster.yaml:3: cluster.nmae: is no key here; did you mean name?',
      "  cluster.yaml:5: consensus.heartbeatMs: expected a whole number of ms from 10 to 60000, got 2 (time between a leader's heartbeats; default 100)",
      '  cluster.yaml:7: listen.peer: 0.0.0.0:1 means every interface, so others need an address to reach it by; set advertise.peer',
      '  cluster.yaml:9: mcpServers.group: the name group is reserved; choose another',
    ])
  })
})

describe('a configuration that can be used', () => {
  it('is a node of its own when it says nothing of others', () => {
    const { config, warnings } = load(secretLine)
    expect(config.cluster).toEqual({
      name: 'quorate',
      join: [],
      bootstrapExpect: 1,
      secret,
      secretFile: null,
      tokenFile: null,
    })
    expect(config.listen.http).toBe('127.0.0.1:6270')
    expect(warnings).toEqual([])
  })

  it('joins a cluster that exists, and never forms one, when it has others to join and no number of founders', () => {
    const { config, warnings } = load(`cluster:\n  secret: ${secret}\n  join: [10.0.0.1:6271, 127.0.0.1:6271]`)
    expect(config.cluster).toMatchObject({ join: ['10.0.0.1:6271', '127.0.0.1:6271'], bootstrapExpect: null })
    expect(warnings).toEqual([])
  })

  it('needs no secret with a join token, nor once its data directory keeps what a join gave it', () => {
    const { config, warnings } = load('cluster: { tokenFile: t, join: [a:1] }')
    expect(config.cluster).toMatchObject({ secret: null, bootstrapExpect: null })
    expect(warnings).toEqual([])
    writeFileSync(path.join(folder, 'cluster.json'), '{}')
    expect(load(`node: { dataDir: ${folder} }`).config.cluster.secret).toBeNull()
    rmSync(path.join(folder, 'cluster.json'))
  })

  it.each<[string, string, Record<string, string>, number | null]>([
    ['nothing', '', {}, null],
    ['a number', 'node: { capacity: { memory: 5 } }', {}, 5],
    ['KiB', 'node: { capacity: { memory: 3KiB } }', {}, 3072],
    ['MiB', 'node: { capacity: { memory: 2MiB } }', {}, 2_097_152],
    ['GiB', 'node: { capacity: { memory: 16GiB } }', {}, 17_179_869_184],
    ['a variable', 'node: { capacity: { memory: "${MEMORY}" } }', { MEMORY: '1GiB' }, 1_073_741_824],
    ['a variable that is a number', 'node: { capacity: { memory: "${MEMORY}" } }', { MEMORY: '7' }, 7],
    ['the environment', '', { QUORATE_NODE_CAPACITY_MEMORY: '1KiB' }, 1024],
  ])('gives memory in bytes: %s', (_, yaml, env, memory) => {
    const loaded = load(`${secretLine}\n${yaml}`, { env })
    expect(loaded.config.node.capacity).toEqual({ cpu: null, gpu: null, memory })
    expect(showConfig(loaded)).toContainEqual(expect.objectContaining({ key: 'node.capacity.memory', value: memory }))
  })

  it('takes flags before the environment, and that before the file', () => {
    const flags = [{ key: 'node.id', flag: '--node-id', value: 'from-flag' }]
    const env = { QUORATE_NODE_ID: 'from-env', QUORATE_NODE_DATA_DIR: '/env', QUORATE_CONSENSUS_HEARTBEAT_MS: '50' }
    const { config, origins } = load(`${secretLine}\nnode:\n  id: from-file\n  dataDir: /file`, { env, flags })
    expect(config.node).toMatchObject({ id: 'from-flag', dataDir: '/env' })
    expect(config.consensus.heartbeatMs).toBe(50)
    expect(origins.get('node.id')).toEqual({ kind: 'flag', name: '--node-id' })
    expect(origins.get('node.dataDir')).toEqual({ kind: 'environment', name: 'QUORATE_NODE_DATA_DIR' })
    expect(origins.get('cluster.secret')).toEqual({ kind: 'file', file, line: 1 })
  })

  it('says that there is no file when the environment does not say enough', () => {
    expect(() => loadConfig({ file: null, env: {}, flags: [] })).toThrow(
      /^without a configuration file: cluster\.secret: is not set; name a file/,
    )
  })

  it('needs no file when the environment says enough', () => {
    const env = {
      QUORATE_CLUSTER_SECRET: secret,
      QUORATE_CLUSTER_JOIN: 'a:1, b:1',
      QUORATE_CLUSTER_BOOTSTRAP_EXPECT: '3',
    }
    const { config } = loadConfig({ file: null, env, flags: [] })
    expect(config.cluster).toMatchObject({ secret, join: ['a:1', 'b:1'], bootstrapExpect: 3 })
  })

  it('fills in variables, their defaults also for empty ones, and turns them into what the key takes', () => {
    const env = { NAME: 'prod', EMPTY: '', HEARTBEAT: '80' }
    const { config } = load(
      `cluster: { secret: ${secret}, name: "\${NAME}-1" }\nnode: { dataDir: "\${EMPTY:-/var}/$\${x}" }\nconsensus: { heartbeatMs: "\${HEARTBEAT}" }`,
      { env },
    )
    expect(config.cluster.name).toBe('prod-1')
    expect(config.node.dataDir).toBe('/var/${x}')
    expect(config.consensus.heartbeatMs).toBe(80)
  })

  it('warns of unknown QUORATE_ variables, not of those that the file uses or the CLI knows', () => {
    const env = { QUORATE_SECRET: secret, QUORATE_URL: 'http://x', QUORATE_LOG_LEVLE: 'debug' }
    expect(load('cluster: { secret: "${QUORATE_SECRET}" }', { env }).warnings).toEqual([
      'the environment variable QUORATE_LOG_LEVLE is no key and is ignored; did you mean QUORATE_LOG_LEVEL?',
    ])
  })

  it('warns of an even number of nodes and of nodes that are not listed', () => {
    expect(load(`cluster: { secret: ${secret}, bootstrapExpect: 4, join: [a:1] }`).warnings).toEqual([
      'cluster.join names 1 of the 3 other nodes that form the cluster; list all, so that any two of them find each other',
      'cluster.bootstrapExpect is 4: an even number of nodes survives no more failures than 3; 3, 5 or 7 are better',
    ])
  })

  it('reads the secret from its file, and warns when others can read it', () => {
    const secretFile = path.join(folder, 'secret')
    writeFileSync(secretFile, `${secret}\n`, { mode: 0o600 })
    expect(load(`cluster: { secretFile: ${secretFile} }`)).toMatchObject({
      config: { cluster: { secret } },
      warnings: [],
    })
    chmodSync(secretFile, 0o644)
    expect(load(`cluster: { secretFile: ${secretFile} }`).warnings).toEqual([
      `the secret file ${secretFile} can be read by other users of this machine; run: chmod 600 ${secretFile}`,
    ])
  })

  it('runs a pasted block, without the servers that are disabled or placed elsewhere', () => {
    const pasted = JSON.stringify({
      github: { type: 'stdio', command: 'npx', args: ['-y', 'x'], env: { TOKEN: 'abc' } },
      docs: {
        type: 'streamable-http',
        url: 'https://docs.example.org/mcp',
        headers: { Authorization: 'Bearer x' },
        isolation: 'session',
        isolatedMax: 3,
        deny: { tools: ['delete_*'] },
        groups: ['b', 'a', 'b'],
        whenUnavailable: 'hide',
        timeoutMs: 3_600_000,
      },
      off: { command: 'false', disabled: true },
      far: { command: 'true', placement: { where: { node: 'n3' } } },
    })
    const { config } = load(`${secretLine}\nmcpServers: ${pasted}`)
    expect(upstreamServersOf(config, { node: 'n1' })).toEqual([
      {
        name: 'github',
        priority: 0,
        timeoutMs: 60_000,
        timeoutMaxMs: 1_800_000,
        isolation: 'auto',
        isolatedMax: 64,
        allow: { tools: [], resources: [], prompts: [] },
        deny: { tools: [], resources: [], prompts: [] },
        groups: [],
        whenUnavailable: 'keep',
        link: { kind: 'stdio', command: 'npx', args: ['-y', 'x'], env: { TOKEN: 'abc' }, cwd: null },
      },
      {
        name: 'docs',
        priority: 0,
        timeoutMs: 3_600_000,
        timeoutMaxMs: 3_600_000,
        isolation: 'session',
        isolatedMax: 3,
        allow: { tools: [], resources: [], prompts: [] },
        deny: { tools: ['delete_*'], resources: [], prompts: [] },
        groups: ['a', 'b'],
        whenUnavailable: 'hide',
        link: {
          kind: 'http',
          url: 'https://docs.example.org/mcp',
          headers: { Authorization: 'Bearer x' },
          transport: 'streamable-http',
        },
      },
    ])
    expect(upstreamServersOf(config, { node: 'n3' }).map((server) => server.name)).toEqual(['github', 'docs', 'far'])
  })
})

describe('the transport of a server with a url', () => {
  it.each([
    ['', 'inferred'],
    ['type: http', 'inferred'],
    ['type: streamable-http', 'streamable-http'],
    ['type: streamableHttp', 'streamable-http'],
    ['type: sse', 'sse'],
  ])('%s: %s', (type, transport) => {
    const { config } = load(`${secretLine}\nmcpServers:\n  s:\n    url: http://localhost/x\n    ${type}`)
    const [server] = upstreamServersOf(config, {})
    expect(server).toMatchObject({ isolatedMax: 1024, link: { kind: 'http', transport } })
  })
})

describe('config show', () => {
  it('tells every value with its origin, and no secret', () => {
    const hidden = ['s3cr3t-env', 's3cr3t-head', 's3cr3t-arg', 's3cr3t-url', 's3cr3t-var', secret]
    const loaded = load(
      [
        secretLine,
        'mcpServers:',
        '  secrets:',
        '    command: vault',
        '    args: [--api-key, s3cr3t-arg, --token=s3cr3t-arg, "${MY_TOKEN}", plain]',
        '    env: { ANY: s3cr3t-env }',
        '  web:',
        '    url: https://u:s3cr3t-url@example.org/mcp?api_key=s3cr3t-url&a=b',
        '    headers: { X-Any: s3cr3t-head }',
      ].join('\n'),
      { env: { MY_TOKEN: 's3cr3t-var', QUORATE_LOG_LEVEL: 'warn' } },
    )
    const rows = showConfig(loaded)
    const text = JSON.stringify(rows)
    for (const value of hidden) expect(text).not.toContain(value)
    const byKey = new Map(rows.map((row) => [row.key, row]))
    expect(byKey.get('cluster.secret')).toMatchObject({ value: '[redacted]', origin: `${file}:1` })
    expect(byKey.get('log.level')).toMatchObject({ value: 'warn', origin: 'environment QUORATE_LOG_LEVEL' })
    expect(byKey.get('listen.http')).toMatchObject({ value: '127.0.0.1:6270', origin: 'default' })
    expect(byKey.get('mcpServers.secrets.command')).toMatchObject({ value: 'vault', origin: `${file}:4` })
    expect(byKey.get('mcpServers.secrets.args')?.value).toEqual([
      '--api-key',
      '[redacted]',
      '--token=[redacted]',
      '[redacted]',
      'plain',
    ])
    expect(byKey.get('mcpServers.web.url')?.value).toBe('https://[redacted]@example.org/mcp?api_key=[redacted]&a=b')
  })
})
