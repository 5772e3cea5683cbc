/**
 * The keys of one server under `mcpServers`: the shape of other programs' files, and what this product adds. Rules that span
 * keys are in check.ts.
 */
import { z } from 'zod'
import {
  filled,
  flag,
  labels,
  oneOf,
  optionalText,
  optionalWholeNumber,
  text,
  textList,
  textMap,
  wholeNumber,
} from './keys.ts'

/** How `mcpServers.x.type` may be written. */
const serverTypes = ['stdio', 'http', 'streamable-http', 'streamableHttp', 'sse'] as const
export type ServerType = (typeof serverTypes)[number]

const anyText = { test: () => true }
const configuredIsolations = ['auto', 'shared', 'session'] as const
const whenUnavailable = ['keep', 'hide'] as const

export const serverSchema = z.strictObject({
  type: optionalText<ServerType>({
    about: 'how the server is spoken to; found out by command or url when left out',
    ...oneOf(serverTypes),
  }),
  command: optionalText({ about: 'program of a stdio server, started without a shell', ...filled }),
  args: textList({
    about: 'arguments of command',
    expected: 'a list of texts; put numbers and true/false in quotes',
    ...anyText,
  }),
  env: textMap({
    about: 'environment of command, added to a minimal one',
    expected: 'a map of texts; put numbers and true/false in quotes',
    ...anyText,
  }),
  cwd: optionalText({ about: 'working directory of command', ...filled }),
  url: optionalText({
    about: 'address of a server over HTTP',
    expected: 'an http or https URL, for example https://mcp.example.org/mcp',
    test: (value) => URL.canParse(value) && /^https?:$/.test(new URL(value).protocol),
  }),
  headers: textMap({
    about: 'headers sent to url',
    expected: 'a map of header names and values of one line',
    test: (value) => !/[\r\n\0]/.test(value),
  }),
  disabled: flag({ default: false, about: 'true: the server is left out' }),
  priority: wholeNumber({
    default: 0,
    unit: 'points (higher wins)',
    min: -1000,
    max: 1000,
    about: 'decides where two servers offer the same resource URI, or the same name',
  }),
  timeoutMs: wholeNumber({
    default: 60_000,
    unit: 'ms',
    min: 1,
    max: 86_400_000,
    about: "longest time from a call's start to its result",
  }),
  timeoutMaxMs: wholeNumber({
    default: 1_800_000,
    unit: 'ms',
    min: 1,
    max: 86_400_000,
    about: 'the same of a call that reports progress, each report of which gives it timeoutMs more',
  }),
  isolation: text<(typeof configuredIsolations)[number]>({
    default: 'auto',
    about: 'whether sessions of clients share a connection to the server, or have one each',
    ...oneOf(configuredIsolations),
  }),
  isolatedMax: optionalWholeNumber({
    unit: 'connections',
    min: 1,
    max: 100_000,
    about: 'connections of single sessions to the server at once, on this node',
  }),
  allow: offered('see, and nothing else; empty: all'),
  deny: offered('do not see, whatever allow says'),
  groups: textList({
    about: 'the server is part of /mcp/group/{name} for each name',
    expected: 'a list of names of 1 to 48 characters of A-Z a-z 0-9 _ -, for example [research]',
    test: (value) => /^[A-Za-z0-9_-]{1,48}$/.test(value),
  }),
  whenUnavailable: text<(typeof whenUnavailable)[number]>({
    default: 'keep',
    about: 'whether what the server last offered is still listed while it is not ready',
    ...oneOf(whenUnavailable),
  }),
  placement: z
    .strictObject({
      where: textMap({ about: 'labels that a node must have to run the server; node is its id', ...labels }),
    })
    .prefault({}),
})

export type ServerConfig = z.output<typeof serverSchema>

type OfferedShape = Record<'tools' | 'resources' | 'prompts', ReturnType<typeof textList>>

/** Names and patterns of what a server offers, for `allow` and `deny`. */
function offered(verb: string): z.ZodPrefault<z.ZodObject<OfferedShape>> {
  const names = (what: string): OfferedShape['tools'] =>
    textList({
      about: `${what} that clients ${verb}`,
      expected: 'a list of names, * in them standing for any characters, for example [read_*, search]',
      test: (value) => value !== '' && value.length <= patternLengthMax,
    })
  return z
    .strictObject({
      tools: names('tools'),
      resources: names('URIs of resources and of resource templates'),
      prompts: names('prompts'),
    })
    .prefault({})
}

const patternLengthMax = 1000
