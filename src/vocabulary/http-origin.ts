import { isLoopbackHost } from './addresses.ts'
import { OperatingError } from './operating-error.ts'

/**
 * Which Host and Origin headers an HTTP surface answers: the defence against pages that reach a local port through the
 * browser (DNS rebinding, cross-site requests). One copy for every surface.
 *
 * Allowed are loopback names with any port, and what the options name. A request without Host is refused, one without
 * Origin (no browser sent it) is not. The opaque Origin `null` is refused, unless it is listed.
 */
export function makeOriginCheck(options: OriginOptions): (headers: OriginHeaders) => OperatingError | null {
  const hosts = new Set(options.allowedHosts.map((host) => host.toLowerCase()))
  const origins = new Set(options.allowedOrigins.map((origin) => origin.toLowerCase().replace(/\/$/, '')))
  // Nearly all requests name the same.
  let allowed = ''
  const isAllowed = (host: string): boolean => {
    if (host === allowed) return true
    if (!isAllowedHost(host, hosts)) return false
    allowed = host
    return true
  }
  return ({ host, origin }) => {
    if (host === undefined || host === '') return new OperatingError('forbidden-host', 'the request has no Host header')
    if (!isAllowed(host)) return forbidden('Host', host, 'http.allowedHosts')
    if (origin === undefined) return null
    return isAllowedOrigin(origin, hosts, origins) ? null : forbidden('Origin', origin, 'http.allowedOrigins')
  }
}

export type OriginOptions = {
  /** `HOST` (any port) or `HOST:PORT`: the advertised address and those of `http.allowedHosts`. */
  readonly allowedHosts: readonly string[]
  /** Whole origins (`https://ops.example`) of `http.allowedOrigins`. */
  readonly allowedOrigins: readonly string[]
}

export type OriginHeaders = { readonly host?: string | undefined; readonly origin?: string | undefined }

function isAllowedHost(header: string, hosts: ReadonlySet<string>): boolean {
  const authority = parseAuthority(header)
  if (authority === undefined) return false
  const { host, port } = authority
  if (isLoopbackHost(host.replace(/^\[(.*)\]$/, '$1'))) return true
  return hosts.has(host) || hosts.has(`${host}:${port ?? '80'}`) || (port === undefined && hosts.has(`${host}:443`))
}

/** A page that one of our own names served, or that the operator listed. */
function isAllowedOrigin(header: string, hosts: ReadonlySet<string>, origins: ReadonlySet<string>): boolean {
  const origin = header.toLowerCase()
  if (origins.has(origin)) return true
  const match = /^(https?):\/\/(.+)$/.exec(origin)
  const authority = match?.[2]
  if (authority === undefined) return false
  const defaultPort = match?.[1] === 'https' ? '443' : '80'
  return isAllowedHost(parseAuthority(authority)?.port === undefined ? `${authority}:${defaultPort}` : authority, hosts)
}

/** In lower case, without the root's trailing dot; IPv6 keeps its brackets. Undefined: nothing of the form `HOST[:PORT]`. */
function parseAuthority(text: string): { host: string; port: string | undefined } | undefined {
  const match = /^(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::(\d{1,5}))?$/.exec(text.toLowerCase())
  const host = match?.[1]
  return host === undefined ? undefined : { host, port: match?.[2] }
}

const shownMax = 100

function forbidden(header: string, value: string, key: string): OperatingError {
  const shown = value.length > shownMax ? `${value.slice(0, shownMax)}...` : value
  return new OperatingError('forbidden-host', `${header} ${JSON.stringify(shown)} is not allowed here (see ${key})`)
}
