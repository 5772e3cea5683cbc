/**
 * Every configuration key: kind, default, unit, what it is for. The single source for parsing, messages, overrides and
 * `config show`; cluster.example.yaml is held equal to it by a test. Rules that span keys are in check.ts.
 */
import { z } from 'zod'
import { parseAddress } from '../vocabulary/addresses.ts'
import { isNodeId, type NodeId } from '../vocabulary/ids.ts'
import { namings, type Naming } from '../vocabulary/naming.ts'
import { clientSessionsMax, sessionIdleMaxMs, sessionIdleMinMs } from '../vocabulary/session-limits.ts'
import {
  filled,
  flag,
  labels,
  noteOf,
  oneOf,
  optionalBytes,
  optionalText,
  optionalWholeNumber,
  text,
  textList,
  textMap,
  wholeNumber,
} from './keys.ts'
import type { KeyNote } from './keys.ts'
import { serverSchema } from './server-schema.ts'

const address = { expected: 'HOST:PORT, for example 127.0.0.1:6270', test: isAddress }

const cluster = z.strictObject({
  name: text({
    default: 'quorate',
    about: 'nodes refuse peers of another cluster name',
    expected: '1 to 64 characters of A-Z a-z 0-9 . _ -',
    test: isNodeId,
  }),
  join: textList({
    about: 'peer addresses (listen.peer) of nodes of the cluster',
    expected: 'a list of HOST:PORT, for example [10.0.0.1:6271, 10.0.0.2:6271]',
    test: (value) => (parseAddress(value)?.port ?? 0) !== 0,
  }),
  bootstrapExpect: optionalWholeNumber({
    unit: 'nodes',
    min: 1,
    max: 7,
    about: 'how many nodes form the cluster together',
  }),
  secret: optionalText({
    about: 'proves to peers that a node belongs here',
    expected: 'text of 32 bytes or more, the same on all nodes',
    test: (value) => Buffer.byteLength(value) >= 32,
  }),
  secretFile: optionalText({ about: 'file that holds cluster.secret', ...filled }),
  tokenFile: optionalText({ about: 'file that holds a join token, for a node that joins a cluster', ...filled }),
})

const node = z.strictObject({
  id: optionalText<NodeId>({
    about: 'permanent id of this node',
    expected: '1 to 64 characters of A-Z a-z 0-9 . _ -',
    test: isNodeId,
  }),
  dataDir: text({ default: './data', about: 'directory of everything that must survive a restart', ...filled }),
  labels: textMap({ about: 'what placement.where is matched with', ...labels }),
  capacity: z
    .strictObject({
      cpu: optionalWholeNumber({ unit: 'cores', min: 1, max: 65_536, about: 'cores that the node may use' }),
      gpu: optionalWholeNumber({ unit: 'devices', min: 0, max: 65_536, about: 'GPUs that the node may use' }),
      memory: optionalBytes({ min: 1, max: 1_125_899_906_842_624, about: 'memory that the node may use' }),
    })
    .prefault({}),
  drainTimeoutMs: wholeNumber({
    default: 30_000,
    unit: 'ms',
    min: 100,
    max: 3_600_000,
    about: 'longest time that calls in flight have to end when the node is drained or stopped',
  }),
})

const listen = z.strictObject({
  http: text({ default: '127.0.0.1:6270', about: 'MCP clients, admin API, health, metrics', ...address }),
  peer: text({ default: '127.0.0.1:6271', about: 'other nodes: forwarded calls, joining', ...address }),
  raft: text({ default: '127.0.0.1:6272', about: 'other nodes: consensus', ...address }),
})

const advertise = z.strictObject({
  http: optionalText({ about: 'how others reach listen.http', ...address }),
  peer: optionalText({ about: 'how others reach listen.peer', ...address }),
  raft: optionalText({ about: 'how others reach listen.raft', ...address }),
})

const http = z.strictObject({
  allowedHosts: textList({
    about: 'further Host headers that are answered',
    expected: 'a list of host names, for example [mcp.example.org]',
    test: (value) => /^[^\s/]+$/.test(value),
  }),
  allowedOrigins: textList({
    about: 'further Origin headers that are answered',
    expected: 'a list of origins, for example [https://app.example.org]',
    test: (value) => URL.canParse(value) && new URL(value).origin === value,
  }),
  health: z
    .strictObject({
      path: text({
        default: '/healthz',
        about: 'where the liveness probe asks',
        expected: 'a path, for example /healthz; not /mcp, /v1, /metrics or /readyz',
        test: isHealthPath,
      }),
      status: wholeNumber({ default: 200, unit: 'status code', min: 200, max: 299, about: 'its answer' }),
      message: text({
        default: 'ok',
        about: 'the body of its answer',
        expected: 'text of at most 200 characters',
        test: (value) => value.length <= 200,
      }),
    })
    .prefault({}),
})

const consensus = z.strictObject({
  heartbeatMs: wholeNumber({
    default: 100,
    unit: 'ms',
    min: 10,
    max: 60_000,
    about: "time between a leader's heartbeats",
  }),
  electionTimeoutMs: wholeNumber({
    default: 1000,
    unit: 'ms',
    min: 50,
    max: 600_000,
    about: 'silence of the leader after which a follower stands for election',
  }),
  logBytesMax: wholeNumber({
    default: 268_435_456,
    unit: 'bytes',
    min: 1_048_576,
    max: 2_147_483_648,
    about: 'size of the log, held in memory, at which writes are refused',
  }),
  snapshotEntries: wholeNumber({
    default: 10_000,
    unit: 'entries',
    min: 10,
    max: 10_000_000,
    about: 'how many committed entries a snapshot follows, which lets the log before it go',
  }),
  reserveBytes: wholeNumber({
    default: 67_108_864,
    unit: 'bytes',
    min: 0,
    max: 1_099_511_627_776,
    about: "free space of the data directory's disk below which writes are refused; 0: never",
  }),
  maxVoters: wholeNumber({
    default: 5,
    unit: 'nodes',
    min: 1,
    max: 7,
    about: 'learners that have caught up become voters by themselves up to this number',
  }),
  leaseReads: flag({
    default: false,
    about: 'true: a leader that was just confirmed answers reads alone, which trusts the clocks',
  }),
})

const gossip = z.strictObject({
  probeIntervalMs: wholeNumber({
    default: 1000,
    unit: 'ms',
    min: 200,
    max: 60_000,
    about: 'how often this node asks another one, in turn, whether it lives',
  }),
  probeTimeoutMs: wholeNumber({
    default: 500,
    unit: 'ms',
    min: 100,
    max: 30_000,
    about: 'silence after which it has others ask in its place; less than probeIntervalMs',
  }),
})

const autopilot = z.strictObject({
  deadVoterMs: wholeNumber({
    default: 60_000,
    unit: 'ms',
    min: 1000,
    max: 604_800_000,
    about: 'how long a voter is dead to gossip and Raft until it is replaced or removed',
  }),
  stabilizationMs: wholeNumber({
    default: 2000,
    unit: 'ms',
    min: 100,
    max: 3_600_000,
    about: 'how long a node has to be well and caught up until it may become a voter',
  }),
})

const mcp = z.strictObject({
  naming: text<Naming>({
    default: 'always',
    about: 'when tools and prompts have the name of their server before theirs on /mcp',
    ...oneOf(namings),
  }),
  sessionsMax: wholeNumber({
    default: 10_000,
    unit: 'sessions',
    min: 1,
    max: clientSessionsMax,
    about: 'sessions of clients in the whole cluster; beyond so many this node opens no new ones',
  }),
  sessionIdleMs: wholeNumber({
    default: 1_800_000,
    unit: 'ms',
    min: sessionIdleMinMs,
    max: sessionIdleMaxMs,
    about: 'unused for so long, a session of a client ends',
  }),
})

export const logLevels = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof logLevels)[number]

const log = z.strictObject({
  level: text<LogLevel>({
    default: 'info',
    about: 'least level that is logged',
    ...oneOf(logLevels),
  }),
})

export const configSchema = z.strictObject({
  cluster: cluster.prefault({}),
  node: node.prefault({}),
  listen: listen.prefault({}),
  advertise: advertise.prefault({}),
  http: http.prefault({}),
  consensus: consensus.prefault({}),
  gossip: gossip.prefault({}),
  autopilot: autopilot.prefault({}),
  mcp: mcp.prefault({}),
  mcpServers: z.record(z.string(), serverSchema).default({}),
  log: log.prefault({}),
})

/**
 * A whole configuration, defaults filled in. After loadConfig `cluster.secret` is null only of a node that joins by a token
 * or has done so, and `cluster.bootstrapExpect` only of one that joins an existing cluster.
 */
export type Config = z.output<typeof configSchema>

export type Key = { readonly path: readonly string[]; readonly note: KeyNote }

/** Every key in file order. Keys of a server stand under the path `mcpServers.*`. */
export const configKeys: readonly Key[] = keysUnder(configSchema, [])

/** The schema at a path, entered through defaults and maps; undefined where the path leaves the schema. */
export function schemaAt(path: readonly PropertyKey[]): z.ZodType | undefined {
  let at: z.ZodType | undefined = configSchema
  for (const step of path) at = at === undefined ? undefined : childOf(at, String(step))
  return at
}

/** Names that may stand under a section; empty for maps and keys. */
export function namesUnder(path: readonly PropertyKey[]): string[] {
  const schema = schemaAt(path)
  const bare = schema === undefined ? undefined : unwrap(schema)
  return bare instanceof z.ZodObject ? Object.keys(bare.shape) : []
}

function keysUnder(schema: z.ZodType, path: readonly string[]): Key[] {
  const note = noteOf(schema)
  if (note !== undefined) return [{ path, note }]
  const bare = unwrap(schema)
  if (bare instanceof z.ZodRecord) return keysUnder(bare.valueType as z.ZodType, [...path, '*'])
  if (!(bare instanceof z.ZodObject)) return []
  return Object.entries(bare.shape).flatMap(([name, child]) => keysUnder(child as z.ZodType, [...path, name]))
}

function childOf(schema: z.ZodType, step: string): z.ZodType | undefined {
  const bare = unwrap(schema)
  if (bare instanceof z.ZodRecord) return bare.valueType as z.ZodType
  if (!(bare instanceof z.ZodObject)) return undefined
  return Object.hasOwn(bare.shape, step) ? (bare.shape[step] as z.ZodType) : undefined
}

function unwrap(schema: z.ZodType): z.ZodType {
  return schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault ? (schema.unwrap() as z.ZodType) : schema
}

/** A path that no other surface serves. */
function isHealthPath(path: string): boolean {
  return /^\/[\w.~/-]{1,100}$/.test(path) && !/^\/(?:mcp|v1|metrics|readyz)(?:\/|$)/.test(path)
}

function isAddress(value: string): boolean {
  return parseAddress(value) !== undefined
}
