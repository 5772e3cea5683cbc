/** How the three systems that are measured are asked: every request is encoded before the first is sent. */
import { GrpcConnection, encodeCall, encodeMessage } from './grpc-wire.ts'
import { HttpConnection } from './http-wire.ts'

/** `etcd-http`: etcd's JSON gateway; `etcd-grpc`: what the gateway itself speaks to its server. */
export type Protocol = 'http' | 'etcd-http' | 'etcd-grpc'
export type Operation = 'put' | 'read' | 'stale-read'

export type WireConnection = {
  /** `done` gets what went wrong, or null; over HTTP a connection carries one request at a time. */
  send(request: Buffer, done: (failure: string | null) => void): void
  close(): void
}

/** Of each key so many values take turns, so that no write repeats the one before it. */
const valuesEach = 4
/** Calls at once on one connection to etcd, as its own benchmark advises: several clients share one. */
export const clientsPerEtcdConnection = 16

export function openConnection(protocol: Protocol, host: string, port: number): Promise<WireConnection> {
  return protocol === 'etcd-grpc' ? GrpcConnection.open(host, port) : HttpConnection.open(host, port)
}

export function encodeRequests(options: {
  protocol: Protocol
  operation: Operation
  authority: string
  keys: number
  bytes: number
}): Buffer[] {
  const { protocol, operation, authority, keys, bytes } = options
  const requests: Buffer[] = []
  for (let variant = 0; variant < (operation === 'put' ? valuesEach : 1); variant += 1) {
    for (let number = 0; number < keys; number += 1) {
      const key = `bench/${String(number).padStart(6, '0')}`
      // A JSON string of that many bytes: what one system takes as a value, the other must take as well.
      const value = `"${`${variant}-${key}-`.padEnd(bytes - 2, 'v')}"`
      requests.push(encoders[protocol](operation, { authority, key, value }))
    }
  }
  return requests
}

const encoders = { http: httpRequest, 'etcd-http': gatewayRequest, 'etcd-grpc': etcdCall }

type Request = { authority: string; key: string; value: string }

function httpRequest(operation: Operation, { authority, key, value }: Request): Buffer {
  const head = (line: string): string => `${line} HTTP/1.1\r\nhost: ${authority}\r\n`
  if (operation === 'put') {
    const length = Buffer.byteLength(value)
    return Buffer.from(
      `${head(`PUT /v1/kv/${key}`)}content-type: application/json\r\ncontent-length: ${length}\r\n\r\n${value}`,
    )
  }
  const query = operation === 'stale-read' ? '?consistency=stale' : ''
  return Buffer.from(`${head(`GET /v1/kv/${key}${query}`)}\r\n`)
}

function gatewayRequest(operation: Operation, { authority, key, value }: Request): Buffer {
  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  const isPut = operation === 'put'
  const body = JSON.stringify({
    key: base64(key),
    ...(isPut ? { value: base64(value) } : {}),
    ...(operation === 'stale-read' ? { serializable: true } : {}),
  })
  const line = `POST /v3/kv/${isPut ? 'put' : 'range'} HTTP/1.1`
  return Buffer.from(
    `${line}\r\nhost: ${authority}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  )
}

function etcdCall(operation: Operation, { authority, key, value }: Request): Buffer {
  if (operation === 'put') {
    const message = encodeMessage([
      [1, Buffer.from(key)],
      [2, Buffer.from(value)],
    ])
    return encodeCall({ authority, path: '/etcdserverpb.KV/Put', message })
  }
  const isStale = operation === 'stale-read'
  const message = encodeMessage([[1, Buffer.from(key)], ...(isStale ? [[7, true] as const] : [])])
  return encodeCall({ authority, path: '/etcdserverpb.KV/Range', message })
}
