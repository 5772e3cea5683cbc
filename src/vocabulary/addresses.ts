/** Where a node can be reached, and the `HOST:PORT` text form. IPv6 hosts are written in brackets: `[::1]:6270`. */

export type Address = { host: string; port: number }

/** What a node advertises: one `HOST:PORT` per listener (see docs, "Three ports"). */
export type Addresses = { http: string; peer: string; raft: string }

/** Parses `HOST:PORT`; undefined when it is not one. Port 0 means "any free port" and is legal only for listening. */
export function parseAddress(text: string): Address | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text)
  if (match === null) return undefined
  const port = Number(match[3])
  const host = match[1] ?? match[2]
  if (host === undefined || port > 65_535) return undefined
  return { host, port }
}

export function formatAddress(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}

/** True for the addresses that never leave the machine: `localhost`, `127.0.0.0/8`, `::1`. */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)
}

/** True for addresses that mean "every interface" and so can not be advertised. */
export function isWildcardHost(host: string): boolean {
  return host === '0.0.0.0' || host === '::' || host === '*'
}
